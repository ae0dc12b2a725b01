/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The class of a bio: all host memory, or all peer-to-peer (P2P) memory of one
 * provider. It is set when the first page is added, and no page of another
 * class is added after that. REQ_P2PDMA in bi_opf says which it is; the
 * provider is that of any page.
 *
 * So a device that maps the bio for DMA asks once how it reaches the memory.
 *
 * The integrity payload has a class of its own, which BIP_P2PDMA tells.
 */
#ifndef BLK_P2PDMA_H
#define BLK_P2PDMA_H

#include <linux/bio-integrity.h>
#include <linux/bio.h>
#include <linux/memremap.h>
#include <linux/pfn.h>
#include <xen/xen.h>

/* Pages from @page on that are P2P memory of its provider; 1 for host memory. */
static inline unsigned long page_p2pdma_left(const struct page *page)
{
	if (likely(!is_pci_p2pdma_page(page)) || xen_domain() ||
	    IS_ENABLED(CONFIG_KMSAN))
		return 1;
	return PHYS_PFN(page->pgmap->range.end) + 1 - page_to_pfn(page);
}

/* Set the class of @bio, which is empty, to that of @page. */
static inline void bio_set_class(struct bio *bio, const struct page *page)
{
	if (unlikely(is_pci_p2pdma_page(page)))
		bio->bi_opf |= REQ_P2PDMA;
	else
		bio->bi_opf &= ~REQ_P2PDMA;
}

/* Whether @page is of the class of @bio, which has a page already. */
static inline bool bio_page_in_class(const struct bio *bio,
				     const struct page *page)
{
	if (likely(!is_pci_p2pdma_page(page)))
		return !(bio->bi_opf & REQ_P2PDMA);
	return (bio->bi_opf & REQ_P2PDMA) &&
	       bio->bi_io_vec->bv_page->pgmap == page->pgmap;
}

/* Whether two bios are of one class and so may share a request. */
static inline bool bio_same_class(const struct bio *a, const struct bio *b)
{
	if (likely(!((a->bi_opf | b->bi_opf) & REQ_P2PDMA)))
		return true;
	return (a->bi_opf & b->bi_opf & REQ_P2PDMA) &&
	       a->bi_io_vec->bv_page->pgmap == b->bi_io_vec->bv_page->pgmap;
}

/*
 * Set the class of @bio, whose vectors were made elsewhere, and return how many
 * of its @size bytes are of that class.
 */
static inline size_t bio_set_class_bvecs(struct bio *bio, size_t size)
{
	const struct bio_vec *bv = bio->bi_io_vec;
	size_t len = 0;

	if (!size)
		return 0;

	size += bio->bi_iter.bi_bvec_done;
	bio_set_class(bio, bv->bv_page);
	do {
		if (unlikely(!bio_page_in_class(bio, bv->bv_page)))
			break;
		len += bv->bv_len;
		bv++;
	} while (len < size);
	return min(len, size) - bio->bi_iter.bi_bvec_done;
}

#ifdef CONFIG_BLK_DEV_INTEGRITY
/* Whether @page is of the class of @bip, which has a page already. */
static inline bool bip_page_in_class(const struct bio_integrity_payload *bip,
				     const struct page *page)
{
	if (likely(!is_pci_p2pdma_page(page)))
		return !(bip->bip_flags & BIP_P2PDMA);
	return (bip->bip_flags & BIP_P2PDMA) &&
	       bip->bip_vec->bv_page->pgmap == page->pgmap;
}

/* Whether two payloads with the same flags are of one class. */
static inline bool bip_same_class(const struct bio_integrity_payload *a,
				  const struct bio_integrity_payload *b)
{
	if (likely(!(a->bip_flags & BIP_P2PDMA)))
		return true;
	return a->bip_vec->bv_page->pgmap == b->bip_vec->bv_page->pgmap;
}
#endif /* CONFIG_BLK_DEV_INTEGRITY */

#endif /* BLK_P2PDMA_H */
