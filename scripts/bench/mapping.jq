# SPDX-License-Identifier: GPL-2.0
# What scripts/bench/run-matrix counted, with all that maps as mapping.

# To find a registered buffer mapped is its mapping, of which scripts/count/layers has one function as the driver's.
def whole_mapping:
	(.functions.nvme.nvme_dma_buffer_client // 0) as $found
	| .map_unmap += $found
	| .map_unmap_class += $found;
