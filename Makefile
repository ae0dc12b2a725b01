# SPDX-License-Identifier: GPL-2.0
# Each target calls one script; "make help" lists them. V=1 shows all output.

MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.DEFAULT_GOAL := run
ifneq ($(V),1)
.SILENT:
endif
export V

.PHONY: run
run: stock patched initramfs count ## boot each kernel with an NVMe CMB, run the fio jobs, print one table (default)
	scripts/compare/kernels

.PHONY: deps
deps: ## install the Debian packages that are missing
	scripts/deps

.PHONY: source
source: deps ## unpack the kernel source into build/source
	scripts/kernel/source

.PHONY: tree
tree: source ## lay the series in build/tree, one commit per step
	scripts/series/tree

.PHONY: series
series: source ## write the series as self-contained patches into build/series
	scripts/series/mail

.PHONY: kernels
kernels: stock patched ## build the stock and the patched kernel

.PHONY: stock
stock: source
	scripts/kernel/build stock

.PHONY: patched
patched: tree
	scripts/kernel/build patched

.PHONY: mainline
mainline: deps ## fetch and build Debian's newest kernel as a third kernel
	scripts/kernel/build mainline || [ $$? = 77 ]

.PHONY: qemu
qemu: deps ## fetch Debian's newest QEMU into the build folder, which guests run in from then on
	scripts/guest/qemu || [ $$? = 77 ]

.PHONY: modules
modules: stock patched
	scripts/kernel/modules
	scripts/kernel/selftests

.PHONY: initramfs
initramfs: deps
	scripts/guest/initramfs

.PHONY: count
count: deps
	scripts/count/build

.PHONY: test
test: stock patched modules initramfs count ## run the tests
	scripts/test/suite

.PHONY: debug
debug: tree
	scripts/kernel/build debug

.PHONY: test-full
test-full: stock patched debug modules initramfs count ## run all tests in full, for hours; resumes what was interrupted; writes results/full-test
	scripts/test/suite -f
	scripts/test/totals

.PHONY: test-arm64
test-arm64: tree ## run the tests of Arm's IOMMUs, with pages of 4 and of 64 KiB
	scripts/deps --arm64
	for kernel in stock-arm64 patched-arm64 patched-arm64-64k; do scripts/kernel/build $$kernel || exit; done
	scripts/kernel/modules stock-arm64 patched-arm64 patched-arm64-64k
	scripts/test/suite -k '*-arm64*'

.PHONY: bench
bench: $(if $(DEV),,stock patched initramfs count) ## work per I/O over a matrix; FULL=1: all of it; DEV=... P2P=...: on this machine
	scripts/bench/$(if $(DEV),drive,run-matrix) $(if $(FULL),-f) $(DEV) $(P2P)

.PHONY: report
report: deps ## make the summary and plots of the full bench, or else of the quick one, anew from the JSON
	scripts/bench/report

.PHONY: check
check: stock patched ## static checks of scripts, patches and C files
	scripts/test/check

.PHONY: coccicheck
coccicheck: tree ## the kernel's semantic patches over the files that the series touches
	scripts/kernel/coccicheck

.PHONY: other-processors
other-processors: tree ## compile what the series touches for arm64, riscv and s390, with the IOMMU drivers that these have
	for arch in arm64 riscv s390; do scripts/kernel/compile-for $$arch || exit; done

.PHONY: test-mutants
test-mutants: source initramfs ## break the patched kernel in each way of tests/mutants, see the tests find it
	scripts/test/kill-mutants

.PHONY: test-clean
test-clean: ## run most commands of README.md in a minimal Debian 12 and 13; as root, for hours
	scripts/test/clean-machines

.PHONY: packages
packages: tree ## Debian packages of the patched kernel and of its tools; FLAVOUR=amd64: another of Debian's configurations
	scripts/deps --packages
	scripts/package/kernel $(if $(FLAVOUR),-f '$(FLAVOUR)')
	scripts/package/tools

.PHONY: repository
repository: ## an apt repository of the packages made; KEY=...: signed with yours, URL=...: served there
	scripts/deps --packages
	scripts/package/repository $(if $(KEY),-k '$(KEY)') $(if $(URL),-u '$(URL)')

.PHONY: test-packages
test-packages: tree ## install the packages in a Debian 13 and a 12 guest, do P2P, upgrade, purge; as root
	scripts/deps --packages
	scripts/package/test $(if $(FLAVOUR),-f '$(FLAVOUR)')

.PHONY: versions
versions: source initramfs ## apply, build and boot the series on every 6.12.y source of the archive
	scripts/kernel/versions

.PHONY: bisect
bisect: source initramfs ## build and boot every step of the series by itself
	scripts/series/bisect

.PHONY: clean
clean: ## remove what make made, except the kernel sources and QEMU
	scripts/clean

.PHONY: distclean
distclean: ## remove those too
	scripts/clean --all

.PHONY: help
help: ## this list
	sed -n 's/^\([a-z0-9-]*\):.* ## /\1 /p' Makefile | \
		while read -r target purpose; do printf '%-17s %s\n' "$$target" "$$purpose"; done
