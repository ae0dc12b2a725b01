# SPDX-License-Identifier: GPL-2.0
# What scripts/bench/run-matrix counted, with all of mapping counted as such.

# For a registered buffer, mapping is to find it mapped. One function of that is the driver's in scripts/count/layers.
def whole_mapping:
	(.functions.nvme.nvme_dma_buffer_client // 0) as $found
	| .map_unmap += $found
	| .map_unmap_class += $found;
