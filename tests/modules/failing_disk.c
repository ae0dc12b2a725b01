// SPDX-License-Identifier: GPL-2.0
/*
 * A disk in memory, /dev/failing, of which chosen sectors fail with chosen errors: a bio that touches one moves
 * nothing and ends with its error.
 */
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/vmalloc.h>

#define CAPACITY (16UL << 20)
#define MAX_BAD 4

static ulong sectors[MAX_BAD];
static int errors[MAX_BAD];
static unsigned int nr_sectors, nr_errors;
static struct gendisk *disk;
static void *memory;

module_param_array(sectors, ulong, &nr_sectors, 0644);
MODULE_PARM_DESC(sectors, "those that fail");
module_param_array(errors, int, &nr_errors, 0644);
MODULE_PARM_DESC(errors, "numbers of the errors, as many; 0: none");

static blk_status_t failing_status(const struct bio *bio)
{
	unsigned int i;

	for (i = 0; i < min(nr_sectors, nr_errors); i++)
		if (errors[i] && sectors[i] >= bio->bi_iter.bi_sector &&
		    sectors[i] < bio_end_sector((struct bio *)bio))
			return errno_to_blk_status(-errors[i]);
	return BLK_STS_OK;
}

static void failing_submit_bio(struct bio *bio)
{
	void *at = memory + (bio->bi_iter.bi_sector << SECTOR_SHIFT);
	struct bvec_iter iter;
	struct bio_vec bv;

	bio->bi_status = failing_status(bio);
	if (!bio->bi_status && bio_has_data(bio)) {
		bio_for_each_segment(bv, bio, iter) {
			if (op_is_write(bio_op(bio)))
				memcpy_from_bvec(at, &bv);
			else
				memcpy_to_bvec(&bv, at);
			at += bv.bv_len;
		}
	}
	bio_endio(bio);
}

static const struct block_device_operations failing_ops = {
	.owner = THIS_MODULE,
	.submit_bio = failing_submit_bio,
};

static int __init failing_init(void)
{
	struct queue_limits limits = { .dma_alignment = 3 };
	int ret = -ENOMEM;

	memory = vzalloc(CAPACITY);
	if (!memory)
		return ret;
	disk = blk_alloc_disk(&limits, NUMA_NO_NODE);
	if (IS_ERR(disk)) {
		ret = PTR_ERR(disk);
		goto free;
	}
	disk->fops = &failing_ops;
	strscpy(disk->disk_name, "failing", sizeof(disk->disk_name));
	set_capacity(disk, CAPACITY >> SECTOR_SHIFT);
	ret = add_disk(disk);
	if (!ret)
		return 0;
	put_disk(disk);
free:
	vfree(memory);
	return ret;
}
module_init(failing_init);

static void __exit failing_exit(void)
{
	del_gendisk(disk);
	put_disk(disk);
	vfree(memory);
}
module_exit(failing_exit);

MODULE_DESCRIPTION("A disk whose sectors fail as one wants");
MODULE_LICENSE("GPL");
