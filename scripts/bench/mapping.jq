# SPDX-License-Identifier: GPL-2.0
# What scripts/bench/run-matrix counted, with all of mapping counted as such.

# For a registered buffer, mapping is to find it mapped. One function of that is the driver's in scripts/count/layers.
def whole_mapping:
	(.functions.nvme.nvme_dma_buffer_client // 0) as $found
	| .map_unmap += $found
	| .map_unmap_class += $found;

# Mapping a buffer once may take as much as all the I/Os, and not as much each time, so that it does not go out of the
# slope, and the functions of mapping add up to more than it. A boot in which they do is left out where another is sound.
def adds_up: (.functions.dma // {} | add // 0) <= 1.05 * .map_unmap;
