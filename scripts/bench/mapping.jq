# SPDX-License-Identifier: GPL-2.0
# Which boots' figures of mapping stand.

# Mapping a buffer once may take as much as all the I/Os, and not as much each time, so that it does not go out of the
# slope, and the functions of mapping add up to more than it. A boot in which they do is left out where another is sound.
def adds_up: ([.functions["dma", "iommu", "virtio"] // {} | add // 0] | add) <= 1.04 * .map_unmap;
