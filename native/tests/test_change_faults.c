/* Changing names while calls fail: each operation is repeated with its first call failing, then its second, and so on
 * until none does. Whatever fails, either it is done and answered so, or nothing has changed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "box.h"
#include "check.h"

#define CALLS_MAX 60

struct bench {
    struct box *box;
    uint64_t parent;           /* everything happens in this directory */
    uint64_t source;           /* a file elsewhere */
    uint64_t node, replaced;   /* made by prepare; 0: none */
    uint64_t lookups;          /* before the operation */
    unsigned int entries, fds; /* of the empty directory; before the operation */
};

struct attempt {
    const char *name;
    void (*prepare)(struct bench *);
    int (*run)(struct bench *);
    void (*check)(struct bench *, int error); /* and tidy up */
};

static unsigned int entries(struct bench *b)
{
    return count_entries(box_place(b->box, b->parent, "any").dirfd);
}

static void remove_any(struct bench *b, const char *name)
{
    bool is_dir = S_ISDIR(box_stat(b->box, b->parent, name).st_mode);
    CHECK((is_dir ? box_rmdir : box_unlink)(b->box, b->parent, name) == 0);
}

/* --- making ------------------------------------------------------------------------------------------------------ */

static void prepare_nothing(struct bench *b)
{
    b->node = 0;
}

static int run_mkdir(struct bench *b)
{
    return box_mkdir(b->box, b->parent, "n", 0700);
}

/* What anybody but root could not remove again. */
static uint32_t odd_mode(uint32_t mode)
{
    return geteuid() == 0 ? mode : 0700;
}

static int run_mkdir_without_owners_bits(struct bench *b)
{
    return box_mkdir(b->box, b->parent, "n", odd_mode(0100));
}

static int run_create(struct bench *b)
{
    return box_create(b->box, b->parent, "n", 04700, 0);
}

static int run_mknod(struct bench *b)
{
    return box_mknod(b->box, b->parent, "n", S_IFIFO | 04700, 0);
}

static int run_symlink(struct bench *b)
{
    return box_symlink(b->box, b->parent, "n", "target");
}

static int run_link(struct bench *b)
{
    return box_link(b->box, b->source, b->parent, "n");
}

static void check_made(struct bench *b, int error)
{
    CHECK(pcv_inodes_lookups(b->box->tree->inodes) == b->lookups + (error == 0));
    CHECK(entries(b) == b->entries + (error == 0));
    if (error == 0) {
        uint64_t node = box_node(b->box);
        CHECK(box_stat(b->box, b->parent, "n").st_ino == node);
        remove_any(b, "n");
        if (node == b->source) /* it was known before */
            CHECK(pcv_inodes_forget(b->box->tree->inodes, node, 1) == 0);
        else
            box_forget(b->box, node);
    }
}

/* --- removing ---------------------------------------------------------------------------------------------------- */

static void prepare_file(struct bench *b)
{
    CHECK(box_create(b->box, b->parent, "n", 0600, 0) == 0);
    b->node = box_node(b->box);
}

static void prepare_dir(struct bench *b)
{
    CHECK(box_mkdir(b->box, b->parent, "n", odd_mode(0600)) == 0);
    b->node = box_node(b->box);
}

/* Neither its descriptor nor its IV is in memory. */
static void prepare_cold_dir(struct bench *b)
{
    prepare_dir(b);
    pcv_dirs_evict(&b->box->tree->dirs, box_inode(b->box, b->node));
    box_inode(b->box, b->node)->has_diriv = false;
}

static int run_unlink(struct bench *b)
{
    return box_unlink(b->box, b->parent, "n");
}

static int run_rmdir(struct bench *b)
{
    return box_rmdir(b->box, b->parent, "n");
}

static void check_named(struct bench *b, uint64_t node, const char *name)
{
    const pcv_inode *inode = box_inode(b->box, node);
    struct pcv_place place = box_place(b->box, b->parent, name);
    CHECK(inode->links && !inode->links->next && strcmp(inode->links->cname, place.cname.name) == 0);
    CHECK(inode->orphan_fd < 0 && box_stat(b->box, b->parent, name).st_ino == node);
}

static void check_orphan(struct bench *b, uint64_t node)
{
    CHECK(!box_inode(b->box, node)->links && box_inode(b->box, node)->orphan_fd >= 0);
}

static void check_gone(struct bench *b, int error)
{
    CHECK(entries(b) == b->entries + (error != 0));
    if (error == 0) {
        check_orphan(b, b->node);
    } else {
        check_named(b, b->node, "n");
        pcv_inode *inode = box_inode(b->box, b->node);
        if (inode->type == S_IFDIR) { /* its IV is there and good */
            pcv_dirs_evict(&b->box->tree->dirs, inode);
            inode->has_diriv = false;
            (void)box_place(b->box, b->node, "any");
        }
        remove_any(b, "n");
    }
    box_forget(b->box, b->node);
}

/* --- renaming ---------------------------------------------------------------------------------------------------- */

static void prepare_two_files(struct bench *b)
{
    prepare_file(b);
    CHECK(box_create(b->box, b->parent, "m", 0600, 0) == 0);
    b->replaced = box_node(b->box);
}

static int run_rename(struct bench *b)
{
    return box_rename(b->box, b->parent, "n", b->parent, "m");
}

/* Without memory for its new name an object may have none, but can be reached. */
static void check_moved(struct bench *b, int error)
{
    struct stat st;
    CHECK(entries(b) == b->entries + 1 + (error != 0 && b->replaced != 0));
    if (error == 0) {
        pcv_inode *inode = box_inode(b->box, b->node);
        CHECK(box_stat(b->box, b->parent, "m").st_ino == b->node);
        CHECK(pcv_tree_stat(b->box->tree, inode, &st) == 0 && st.st_ino == b->node);
        if (inode->links)
            check_named(b, b->node, "m");
        if (b->replaced != 0)
            check_orphan(b, b->replaced);
        remove_any(b, "m");
    } else {
        check_named(b, b->node, "n");
        if (b->replaced != 0) {
            check_named(b, b->replaced, "m");
            remove_any(b, "m");
        }
        remove_any(b, "n");
    }
    box_forget(b->box, b->node);
    if (b->replaced != 0)
        box_forget(b->box, b->replaced);
    b->replaced = 0;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

static const struct attempt ATTEMPTS[] = {
    {"mkdir", prepare_nothing, run_mkdir, check_made},
    {"mkdir, odd mode", prepare_nothing, run_mkdir_without_owners_bits, check_made},
    {"create", prepare_nothing, run_create, check_made},
    {"mknod", prepare_nothing, run_mknod, check_made},
    {"symlink", prepare_nothing, run_symlink, check_made},
    {"link", prepare_nothing, run_link, check_made},
    {"unlink", prepare_file, run_unlink, check_gone},
    {"rmdir", prepare_dir, run_rmdir, check_gone},
    {"rmdir, cold", prepare_cold_dir, run_rmdir, check_gone},
    {"rename", prepare_file, run_rename, check_moved},
    {"rename of a directory", prepare_dir, run_rename, check_moved},
    {"rename over a file", prepare_two_files, run_rename, check_moved},
};

/* True: a call failed. */
static bool try(struct bench *b, const struct attempt *attempt, unsigned int at)
{
    struct fault fault = {.calls = ALL_CALLS, .at = at, .error = EIO};
    uint32_t uid = geteuid() == 0 ? 1000 : 0;
    attempt->prepare(b);
    b->fds = count_fds();
    b->lookups = pcv_inodes_lookups(b->box->tree->inodes);
    b->box->fault = &fault;
    b->box->uid = b->box->gid = uid;
    int error = attempt->run(b);
    bool has_failed = b->box->failed > 0;
    b->box->fault = NULL;
    b->box->uid = b->box->gid = 0;
    if (!has_failed)
        CHECK(error == 0);
    attempt->check(b, error);
    CHECK(entries(b) == b->entries);
    return has_failed;
}

static void test_failing_calls_leave_nothing_half_done(enum volume_names names, const struct attempt *attempt)
{
    struct box box;
    box_open(&box, names);
    struct bench b = {.box = &box};
    CHECK(box_mkdir(&box, PCV_ROOT_INODE, "p", 0755) == 0);
    b.parent = box_node(&box);
    CHECK(box_create(&box, PCV_ROOT_INODE, "source", 0600, 0) == 0);
    b.source = box_node(&box);
    b.entries = entries(&b);
    unsigned int fds = count_fds(), at = 0;
    while (try(&b, attempt, at)) {
        CHECK(count_fds() == fds);
        CHECK(++at < CALLS_MAX);
    }
    CHECK(at > 1); /* else nothing was tried */
    CHECK(box_unlink(&box, PCV_ROOT_INODE, "source") == 0 && box_rmdir(&box, PCV_ROOT_INODE, "p") == 0);
    box_forget(&box, b.source);
    box_forget(&box, b.parent);
    box_close(&box);
}

int main(void)
{
    for (int names = 0; names < VOLUME_NAMES; names++) {
        for (size_t i = 0; i < sizeof ATTEMPTS / sizeof ATTEMPTS[0]; i++)
            test_failing_calls_leave_nothing_half_done((enum volume_names)names, &ATTEMPTS[i]);
    }
    return 0;
}
