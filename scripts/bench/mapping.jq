# SPDX-License-Identifier: GPL-2.0
# What scripts/bench/run-matrix counted, with all that maps as mapping.

# To find a registered buffer mapped is its mapping. Sets counted before scripts/count/layers said so have it as the
# block layer's and the driver's.
def whole_mapping:
	([.functions.block, .functions.nvme | values | to_entries[]
		| select(.key | test("^(blk_dma_buffer_|blk_dma_find_data$|nvme_find_data$|nvme_dma_buffer_client$)")) | .value]
		| add // 0) as $found
	| .map_unmap += $found
	| .map_unmap_class += $found;
