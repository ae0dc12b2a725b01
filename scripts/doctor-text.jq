# SPDX-License-Identifier: GPL-2.0
# What scripts/doctor --json prints, as text for people.
def mib: "\(. / 1048576 * 10 | round / 10) MiB";
def column: . + " " * ([13 - length, 1] | max);
def or_unknown: if . == null or . == "" then "unknown" else . end;

def pair:
	"\("pair" | column)\(.provider) -> \(.drive) (\(.client)): distance \(.distance), "
	+ (if .common_bridge == .client then "the drive's own" elif .common_bridge != "" then "both below \(.common_bridge)"
		else "no common bridge" end)
	+ (.acs_redirect | map("; ACS \(.bits | join(", ")) on \(.bridge)") | join(""))
	+ (if .allowed == null then "" else "; host bridge \(.host_bridges) \(if .allowed then "allowed" else "not on the list" end)" end)
	+ "; map type \(.map)"
	+ (if .iommu_group == "" then "" else "; IOMMU group \(.iommu_group), domain \(.domain | or_unknown)" end)
	+ (if .kernel_log == "" then "" else "\n\("  kernel log" | column)\(.kernel_log)" end);

def verified: [.verified[] | select(.result == "verified")] | length;

def told($kind):
	"\($kind | column)\(.name): \(.cause)\n\("  remedy" | column)\(.remedy // "none")";

(.kernel | "\("kernel" | column)\(.version), P2PDMA \(if .p2pdma == null then "unknown" elif .p2pdma then "yes" else "no" end), "
	+ {series: "with this series", stock: "without this series", mainline: "mainline's path without scatterlists"}[.code]
	+ (if .config_from == "" then "" else ", configuration from \(.config_from)" end)),
(.processor | "\("processor" | column)\(.vendor | or_unknown) family \(.family)"
	+ if .all_host_bridges then ": all host bridges are allowed" else "" end),
(.iommu | "\("IOMMU" | column)\(.mode)\(if .units == [] then "" else " (\(.units | join(", ")))" end)"),
(.limits | "\("limits" | column)locked memory \(.memlock)\(if .memlock == "unlimited" then "" else " KiB" end), open files \(.nofile); fio \(.fio | or_unknown)"
	+ (if .fio_io_uring then " with io_uring" else "" end) + ", liburing \(.liburing | or_unknown)"),
(.controllers[] | "\("controller" | column)\(.controller) \(.pci) \(.model | or_unknown), \(if .state == "live" then "" else "\(.state), " end)"
	+ (if .cmbsz == 0 then "no CMB" else "CMB \(.cmb_size | mib) in BAR \(.bar)" end)
	+ if .untrusted then ", untrusted" else "" end),
(.providers[] | "\("provider" | column)\(.pci) (\(.driver) \(.name)): P2P memory \(.size | mib), available \(.available | mib), \(if .published then "" else "not " end)published"),
(.exporters[] | "\("exporter" | column)\(.pci) (\(.driver)): dma-bufs, largest BAR \(.bar | mib)"),
(.drives[] | "\("drive" | column)\(.name): "
	+ (if .multipath then "multipath head of " else "" end) + (.paths | map("\(.controller) \(.address)") | join(", "))
	+ (.above | map("; below \(.name) (\(.kind))") | join(""))),
(.pairs[] | pair),
(.verified[] | "\("verified" | column)\(.direction), \(.provider) -> \(.drive): \(.result)\(if .said == "" then "" else ": \(.said)" end)"
	+ if .counted != "" then "; the kernel counted: \(.counted)"
		elif .result == "verified" then "; by which way the kernel does not count"
		else "" end),
(.notes[] | told("note")),
(.obstacles[] | told("obstacle")),
(if .exit_status == 1 then "\(.obstacles | length) obstacle(s)"
	elif .exit_status == 2 and .providers == [] and .exporters != [] then "only dma-bufs: P2P was not tried"
	elif .exit_status == 2 and verified == 0 then "P2P was not tried"
	elif .exit_status == 2 then "\(verified) trial(s) verified, not all that was asked for"
	elif verified > 0 then "P2P works: \(verified) trial(s) verified"
	else "nothing stands in the way; --verify tries it" end)
