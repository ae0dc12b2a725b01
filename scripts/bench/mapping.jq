# SPDX-License-Identifier: GPL-2.0
# What scripts/bench/run-matrix counted, with all of mapping counted as such.

# What scripts/count/layers has elsewhere, by where it is: that is mapping by what it does, behind virtio-iommu what carries
# its requests, too; and the question whether pages of two providers merge is of the building of bios.
def whole_mapping:
	.adds_up = ((.functions.dma // {} | add // 0) <= 1.05 * .map_unmap)
	| ([.functions.nvme["nvme_dma_buffer_client", "nvme_unlink_batch"], .functions.io_uring.io_use_mapped_buf,
		.functions.block.blkdev_dio_set_buffer, if .topology | startswith("viommu") then .layers.virtio else 0 end]
		| map(. // 0) | add) as $more
	| ([.functions.class // {} | to_entries[] | select(.key | startswith("zone_device_pages_")).value] | add // 0) as $bio
	| .map_unmap += $more
	| .map_unmap_class += $more - $bio
	| .layers.class = (.layers.class // 0) - $bio
	| .layers.bio = (.layers.bio // 0) + $bio;

# Mapping a buffer once may take as much as all the I/Os, and not as much each time, so that it does not go out of the
# slope, and the functions of mapping add up to more than it. A boot in which they do is left out where another is sound.
# whole_mapping looks before it moves anything.
def adds_up: .adds_up;
