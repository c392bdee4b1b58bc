/* Making, removing and renaming names: what is answered, what is left to Python, and what the table and the cipherdir
 * are like afterwards. With encrypted names, with and without IVs, and with plaintext ones.
 *
 * Names that Python would find an error for must come back untouched, so that it finds the same. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "box.h"
#include "check.h"

#define ROOT PCV_ROOT_INODE
#define UNKNOWN 99999999

static bool has_ivs(const struct box *box)
{
    return volume_has_ivs(&box->volume);
}

static void be(struct box *box, uint32_t uid, uint32_t gid)
{
    box->uid = uid;
    box->gid = gid;
}

static uint64_t make_dir(struct box *box, uint64_t parent, const char *name)
{
    CHECK(box_mkdir(box, parent, name, 0755) == 0);
    return box_node(box);
}

static uint64_t make_file(struct box *box, uint64_t parent, const char *name)
{
    CHECK(box_create(box, parent, name, 0644, O_RDWR) == 0);
    return box_node(box);
}

static void remove_dir(struct box *box, uint64_t parent, const char *name, uint64_t node)
{
    CHECK(box_rmdir(box, parent, name) == 0);
    box_forget(box, node);
}

static void remove_file(struct box *box, uint64_t parent, const char *name, uint64_t node)
{
    CHECK(box_unlink(box, parent, name) == 0);
    box_forget(box, node);
}

/* The one known name is that one. */
static bool is_named(struct box *box, uint64_t node, uint64_t parent, const char *name)
{
    struct pcv_place place = box_place(box, parent, name);
    const pcv_inode *inode = box_inode(box, node);
    return inode->links && !inode->links->next && inode->links->parent == place.dir &&
           strcmp(inode->links->cname, place.cname.name) == 0 && inode->orphan_fd < 0;
}

static bool is_orphan(struct box *box, uint64_t node)
{
    struct stat st;
    pcv_inode *inode = box_inode(box, node);
    return !inode->links && inode->orphan_fd >= 0 && pcv_tree_stat(box->tree, inode, &st) == 0;
}

/* --- making ------------------------------------------------------------------------------------------------------ */

static void test_new_directory_is_known_and_has_an_iv(struct box *box)
{
    uint64_t d = make_dir(box, ROOT, "d");
    struct fuse_entry_out entry = box_entry(box);
    CHECK(entry.attr.mode == (S_IFDIR | 0755) && entry.entry_valid == 1 && entry.attr_valid == 1);
    CHECK(box_stat(box, ROOT, "d").st_ino == d);
    CHECK(count_fds() == box->fds + has_ivs(box)); /* its descriptor is kept */
    if (has_ivs(box)) {
        struct pcv_place inside = box_place(box, d, "any");
        uint8_t iv[PCV_DIRIV_SIZE], zero[PCV_DIRIV_SIZE] = {0};
        struct stat st;
        CHECK(fstatat(inside.dirfd, PCV_DIRIV_NAME, &st, 0) == 0 && (st.st_mode & 07777) == 0444);
        volume_read_iv(&box->volume, inside.dirfd, iv);
        CHECK(memcmp(iv, zero, sizeof iv) != 0 && memcmp(iv, box_inode(box, d)->diriv, sizeof iv) == 0);
    }
    CHECK(box_mkdir(box, ROOT, "d", 0755) == (has_ivs(box) ? EEXIST : FORWARDED));
    CHECK(count_entries(box->volume.root_fd) == box->entries + 1);
    remove_dir(box, ROOT, "d", d);
}

static void test_new_directory_has_any_mode(struct box *box)
{
    static const uint32_t modes[] = {0, 0111, 0500, 0777, 01777};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        CHECK(box_mkdir(box, ROOT, "d", modes[i]) == 0);
        uint64_t d = box_node(box);
        CHECK(box_entry(box).attr.mode == (S_IFDIR | modes[i]));
        CHECK((box_stat(box, ROOT, "d").st_mode & 07777) == modes[i]);
        if (geteuid() != 0 && (modes[i] & S_IRWXU) != S_IRWXU) { /* the mode stands in the way */
            struct pcv_place place = box_place(box, ROOT, "d");
            CHECK(!has_ivs(box) || box_rmdir(box, ROOT, "d") == FORWARDED);
            CHECK(fchmodat(place.dirfd, place.cname.name, 0700, 0) == 0);
        }
        remove_dir(box, ROOT, "d", d);
    }
}

static void test_new_file_stays_open(struct box *box)
{
    uint64_t f = make_file(box, ROOT, "f");
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out;
    CHECK(box->reply_size == sizeof out);
    memcpy(&out, box->reply, sizeof out);
    CHECK(out.open.open_flags == FOPEN_KEEP_CACHE && out.entry.attr.size == 0);
    CHECK(out.entry.attr.mode == (S_IFREG | 0644));
    CHECK(box->tree->file_count == 1 && pcv_file_is_writable(box_inode(box, f)->file));
    CHECK(box_create(box, ROOT, "f", 0644, O_RDWR | O_EXCL) == EEXIST);
    CHECK(box_create(box, ROOT, "f", 0644, O_RDWR) == FORWARDED);
    remove_file(box, ROOT, "f", f);
}

static void test_new_objects_belong_to_who_asked(struct box *box)
{
    if (geteuid() != 0)
        return;
    be(box, 1000, 1001);
    CHECK(box_mkdir(box, ROOT, "d", 0711) == 0);
    uint64_t d = box_node(box);
    CHECK(box_entry(box).attr.uid == 1000 && box_entry(box).attr.gid == 1001);
    CHECK(box_entry(box).attr.mode == (S_IFDIR | 0711));
    CHECK(box_create(box, d, "f", 06755, O_RDWR) == 0);
    uint64_t f = box_node(box);
    CHECK(box_entry(box).attr.uid == 1000 && box_entry(box).attr.mode == (S_IFREG | 06755));
    CHECK(box_mknod(box, d, "fifo", S_IFIFO | 04700, 0) == 0); /* nobody opens it, or this would wait for ever */
    uint64_t fifo = box_node(box);
    CHECK(box_entry(box).attr.gid == 1001 && box_entry(box).attr.mode == (S_IFIFO | 04700));
    CHECK(box_mknod(box, d, "socket", S_IFSOCK | 04700, 0) == 0); /* this can't be opened at all */
    uint64_t socket = box_node(box);
    CHECK(box_entry(box).attr.uid == 1000 && box_entry(box).attr.mode == (S_IFSOCK | 04700));
    CHECK(box_symlink(box, d, "s", "nowhere") == 0);
    uint64_t s = box_node(box);
    CHECK(box_entry(box).attr.uid == 1000 && box_entry(box).attr.gid == 1001);
    be(box, 0, 0);
    remove_file(box, d, "f", f);
    remove_file(box, d, "fifo", fifo);
    remove_file(box, d, "socket", socket);
    remove_file(box, d, "s", s);
    remove_dir(box, ROOT, "d", d);
}

static void test_group_of_the_parent_is_inherited(struct box *box)
{
    if (geteuid() != 0)
        return;
    uint64_t d = make_dir(box, ROOT, "d");
    struct pcv_place place = box_place(box, ROOT, "d");
    CHECK(fchownat(place.dirfd, place.cname.name, 0, 77, 0) == 0);
    CHECK(fchmodat(place.dirfd, place.cname.name, 02777, 0) == 0);
    be(box, 1000, 1001);
    static const uint32_t modes[] = {0700, 0500};
    for (size_t i = 0; i < 2; i++) {
        CHECK(box_mkdir(box, d, "in", modes[i]) == 0);
        uint64_t in = box_node(box);
        CHECK(box_entry(box).attr.gid == 77 && box_entry(box).attr.mode == (S_IFDIR | S_ISGID | modes[i]));
        remove_dir(box, d, "in", in);
    }
    be(box, 0, 0);
    remove_dir(box, ROOT, "d", d);
}

static void test_nodes_of_every_kind(struct box *box)
{
    static const uint32_t modes[] = {S_IFIFO | 0600, S_IFSOCK | 0600, S_IFREG | 0640, S_IFCHR | 0600};
    const uint32_t device = 1 << 20 | 1 << 8 | 3; /* as the kernel packs 1:259 */
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        int error = box_mknod(box, ROOT, "n", modes[i], device);
        if (S_ISCHR(modes[i]) && error == FORWARDED)
            continue; /* not allowed here */
        uint64_t n = box_node(box);
        CHECK(error == 0 && box_entry(box).attr.mode == modes[i]);
        CHECK(!S_ISCHR(modes[i]) ||
              (box_entry(box).attr.rdev == device && minor(box_stat(box, ROOT, "n").st_rdev) == 259));
        CHECK(box_mknod(box, ROOT, "n", modes[i], device) == FORWARDED);
        remove_file(box, ROOT, "n", n);
    }
}

static void test_symlinks_hide_their_targets(struct box *box)
{
    CHECK(box_symlink(box, ROOT, "s", "some/target") == 0);
    uint64_t s = box_node(box);
    CHECK(box_entry(box).attr.mode == (S_IFLNK | 0777) && box_entry(box).attr.size == 11);
    struct pcv_place place = box_place(box, ROOT, "s");
    char stored[PCV_TARGET_MAX + 1] = {0};
    CHECK(readlinkat(place.dirfd, place.cname.name, stored, sizeof stored) > 0);
    CHECK((strcmp(stored, "some/target") == 0) == !box->volume.names.eme);
    CHECK(box_call(box, FUSE_READLINK, s, NULL, 0, NULL, NULL) == 0);
    CHECK(box->reply_size == 11 && memcmp(box->reply, "some/target", 11) == 0);
    CHECK(box_link(box, s, ROOT, "s2") == 0 && box_node(box) == s && box_entry(box).attr.size == 11);
    CHECK(box_unlink(box, ROOT, "s") == 0 && is_named(box, s, ROOT, "s2"));
    CHECK(box_unlink(box, ROOT, "s2") == 0 && is_orphan(box, s));
    CHECK(box_call(box, FUSE_READLINK, s, NULL, 0, NULL, NULL) == 0 && box->reply_size == 11);
    box_forget(box, s);
}

/* --- links and removing ------------------------------------------------------------------------------------------ */

static void test_file_goes_with_its_last_name(struct box *box)
{
    uint64_t d = make_dir(box, ROOT, "d"), f = make_file(box, d, "f");
    CHECK(box_link(box, f, ROOT, "f2") == 0 && box_node(box) == f && box_entry(box).attr.nlink == 2);
    CHECK(box_inode(box, f)->nlookup == 2);
    CHECK(box_link(box, f, ROOT, "f2") == FORWARDED && box_link(box, d, ROOT, "d2") == FORWARDED);
    CHECK(box_link(box, UNKNOWN, ROOT, "f3") == FORWARDED);
    CHECK(box_unlink(box, d, "f") == 0 && is_named(box, f, ROOT, "f2"));
    CHECK(box_unlink(box, ROOT, "f2") == 0 && is_orphan(box, f));
    CHECK(box_link(box, f, ROOT, "back") == FORWARDED);
    box_forget(box, f);
    CHECK(!pcv_inodes_get(box->tree->inodes, f) && box->tree->file_count == 0);
    remove_dir(box, ROOT, "d", d);
}

/* The kernel knows one name of two, and the other one goes. */
static void test_file_with_a_name_unknown_to_the_kernel_keeps_the_known_one(struct box *box)
{
    uint64_t f = make_file(box, ROOT, "f");
    struct pcv_place known = box_place(box, ROOT, "f"), other = box_place(box, ROOT, "other");
    CHECK(linkat(known.dirfd, known.cname.name, other.dirfd, other.cname.name, 0) == 0);
    CHECK(box_unlink(box, ROOT, "other") == 0 && is_named(box, f, ROOT, "f"));
    CHECK(linkat(known.dirfd, known.cname.name, other.dirfd, other.cname.name, 0) == 0);
    CHECK(box_unlink(box, ROOT, "f") == 0 && is_orphan(box, f));
    CHECK(box_lookup(box, ROOT, "other") == 0 && box_node(box) == f && is_named(box, f, ROOT, "other"));
    CHECK(box_link(box, f, ROOT, "f") == 0);
    CHECK(box_unlink(box, ROOT, "f") == 0);
    remove_file(box, ROOT, "other", f);
}

static void test_directory_that_is_not_empty_stays(struct box *box)
{
    uint64_t d = make_dir(box, ROOT, "d"), f = make_file(box, d, "f");
    CHECK(box_rmdir(box, ROOT, "d") == (has_ivs(box) ? ENOTEMPTY : FORWARDED));
    CHECK(box_has(box, ROOT, "d") && box_has(box, d, "f") && is_named(box, d, ROOT, "d"));
    remove_file(box, d, "f", f);
    remove_dir(box, ROOT, "d", d);
}

static void test_removed_directory_is_held_until_forgotten(struct box *box)
{
    uint64_t d = make_dir(box, ROOT, "d");
    struct stat st;
    CHECK(box_rmdir(box, ROOT, "d") == 0 && !box_has(box, ROOT, "d") && is_orphan(box, d));
    CHECK(pcv_tree_stat(box->tree, box_inode(box, d), &st) == 0 && st.st_nlink == 0);
    CHECK(box_mkdir(box, d, "x", 0700) == FORWARDED && box_create(box, d, "x", 0700, 0) == FORWARDED);
    box_forget(box, d);
}

static void test_objects_that_nobody_knows_are_removed(struct box *box)
{
    uint64_t d = make_dir(box, ROOT, "d"), f = make_file(box, ROOT, "f");
    box_forget(box, d);
    box_forget(box, f);
    CHECK(pcv_inodes_count(box->tree->inodes) == 1);
    CHECK(box_rmdir(box, ROOT, "d") == 0 && box_unlink(box, ROOT, "f") == 0);
}

/* What Python has to clean up. */
static void test_directory_with_left_overs_is_pythons(struct box *box)
{
    if (!has_ivs(box))
        return;
    uint64_t d = make_dir(box, ROOT, "d");
    struct pcv_place inside = box_place(box, d, "any"), outside = box_place(box, ROOT, "d");
    CHECK(mkdirat(inside.dirfd, PCV_DIRIV_RMDIR_PREFIX "123", 0700) == 0);
    CHECK(box_rmdir(box, ROOT, "d") == FORWARDED);
    CHECK(unlinkat(inside.dirfd, PCV_DIRIV_RMDIR_PREFIX "123", AT_REMOVEDIR) == 0);
    CHECK(unlinkat(inside.dirfd, PCV_DIRIV_NAME, 0) == 0);
    CHECK(box_rmdir(box, ROOT, "d") == FORWARDED && box_has(box, ROOT, "d"));
    CHECK(unlinkat(outside.dirfd, outside.cname.name, AT_REMOVEDIR) == 0);
    box_forget(box, d);
}

/* --- renaming ---------------------------------------------------------------------------------------------------- */

static void test_rename_takes_the_name_along(struct box *box)
{
    uint64_t d = make_dir(box, ROOT, "d"), f = make_file(box, d, "f");
    CHECK(box_rename(box, d, "f", ROOT, "f2") == 0 && is_named(box, f, ROOT, "f2") && !box_has(box, d, "f"));
    CHECK(box_rename2(box, ROOT, "f2", d, "f", RENAME_NOREPLACE) == 0 && is_named(box, f, d, "f"));
    CHECK(box_stat(box, d, "f").st_ino == f);
    CHECK(box_rename(box, d, "f", d, "f") == 0 && is_named(box, f, d, "f"));
    CHECK(box_rename(box, d, "none", d, "x") == FORWARDED);
    remove_file(box, d, "f", f);
    remove_dir(box, ROOT, "d", d);
}

static void test_rename_replaces_files_alone(struct box *box)
{
    uint64_t a = make_file(box, ROOT, "a"), b = make_file(box, ROOT, "b");
    uint64_t d = make_dir(box, ROOT, "d"), e = make_dir(box, ROOT, "e");
    CHECK(box_rename2(box, ROOT, "a", ROOT, "b", RENAME_NOREPLACE) == EEXIST);
    CHECK(box_rename2(box, ROOT, "a", ROOT, "b", RENAME_EXCHANGE) == FORWARDED);
    CHECK(box_rename2(box, ROOT, "a", ROOT, "b", RENAME_WHITEOUT) == FORWARDED);
    CHECK(box_rename(box, ROOT, "a", ROOT, "d") == FORWARDED && box_rename(box, ROOT, "d", ROOT, "a") == FORWARDED);
    CHECK(box_rename(box, ROOT, "e", ROOT, "d") == FORWARDED && box_rename(box, ROOT, "d", d, "in") == FORWARDED);
    CHECK(is_named(box, a, ROOT, "a") && is_named(box, b, ROOT, "b") && is_named(box, d, ROOT, "d"));
    CHECK(box_rename(box, ROOT, "a", ROOT, "b") == 0);
    CHECK(is_orphan(box, b) && is_named(box, a, ROOT, "b") && box_stat(box, ROOT, "b").st_ino == a);
    box_forget(box, b);
    remove_file(box, ROOT, "b", a);
    remove_dir(box, ROOT, "d", d);
    remove_dir(box, ROOT, "e", e);
}

static void test_rename_onto_another_name_of_the_object_does_nothing(struct box *box)
{
    uint64_t f = make_file(box, ROOT, "f");
    CHECK(box_link(box, f, ROOT, "g") == 0 && box_rename(box, ROOT, "f", ROOT, "g") == 0);
    CHECK(box_has(box, ROOT, "f") && box_has(box, ROOT, "g"));
    CHECK(box_unlink(box, ROOT, "f") == 0);
    remove_file(box, ROOT, "g", f);
}

static void test_renamed_directory_leads_to_what_is_in_it(struct box *box)
{
    uint64_t d = make_dir(box, ROOT, "d"), e = make_dir(box, d, "e"), f = make_file(box, e, "f");
    struct stat st;
    CHECK(box_rename(box, d, "e", ROOT, "e") == 0 && is_named(box, e, ROOT, "e"));
    CHECK(box_stat(box, e, "f").st_ino == f);
    pcv_dirs_evict(&box->tree->dirs, box_inode(box, e));
    pcv_tree_detach(box->tree, box_inode(box, f));
    CHECK(pcv_tree_stat(box->tree, box_inode(box, f), &st) == 0 && st.st_ino == f);
    remove_file(box, e, "f", f);
    remove_dir(box, ROOT, "e", e);
    remove_dir(box, ROOT, "d", d);
}

/* --- what is left to Python -------------------------------------------------------------------------------------- */

static void test_names_that_can_not_be(struct box *box)
{
    static const char *const names[] = {"", ".", "..", "a/b"};
    char longest[256 + 1];
    uint64_t f = make_file(box, ROOT, "f");
    memset(longest, 'x', 256);
    longest[256] = '\0';
    for (size_t i = 0; i < 5; i++) {
        const char *name = i < 4 ? names[i] : longest;
        CHECK(box_mkdir(box, ROOT, name, 0700) == FORWARDED && box_create(box, ROOT, name, 0600, 0) == FORWARDED);
        CHECK(box_rename(box, ROOT, "f", ROOT, name) == FORWARDED && box_unlink(box, ROOT, name) == FORWARDED);
        CHECK(box_lookup(box, ROOT, name) == FORWARDED);
    }
    CHECK(box_mkdir(box, f, "x", 0700) == FORWARDED && box_mkdir(box, UNKNOWN, "x", 0700) == FORWARDED);
    CHECK(box_unlink(box, ROOT, "none") == FORWARDED && box_rmdir(box, ROOT, "none") == FORWARDED);
    CHECK(box_rmdir(box, ROOT, "f") == FORWARDED);
    remove_file(box, ROOT, "f", f);
}

static void test_long_names_are_made_by_python(struct box *box)
{
    char name[250 + 1];
    memset(name, 'x', 250);
    name[250] = '\0';
    CHECK(box_lookup(box, ROOT, name) == 0 && box_node(box) == 0);
    if (!box->volume.names.eme)
        return;
    uint64_t f = make_file(box, ROOT, "f");
    CHECK(box_mkdir(box, ROOT, name, 0700) == FORWARDED && box_create(box, ROOT, name, 0600, 0) == FORWARDED);
    CHECK(box_rename(box, ROOT, "f", ROOT, name) == FORWARDED && box_link(box, f, ROOT, name) == FORWARDED);
    remove_file(box, ROOT, "f", f);
}

static void test_config_is_nobodys_file(struct box *box)
{
    uint64_t d = make_dir(box, ROOT, "d");
    bool is_plaintext = !box->volume.names.eme;
    CHECK(box_create(box, ROOT, PCV_CONFIG_NAME, 0600, 0) == (is_plaintext ? FORWARDED : 0));
    if (!is_plaintext)
        remove_file(box, ROOT, PCV_CONFIG_NAME, box_node(box));
    uint64_t f = make_file(box, d, PCV_CONFIG_NAME);
    remove_file(box, d, PCV_CONFIG_NAME, f);
    remove_dir(box, ROOT, "d", d);
}

static void test_nothing_changes_where_it_must_not(struct box *box)
{
    uint64_t f = make_file(box, ROOT, "f");
    box->tree->options.is_ro = true;
    CHECK(box_mkdir(box, ROOT, "d", 0700) == FORWARDED && box_unlink(box, ROOT, "f") == FORWARDED);
    box->tree->options.is_ro = false;
    remove_file(box, ROOT, "f", f);
}

/* Deeper than directories are opened in one go, and than descriptors are kept. */
static void test_deep_trees_are_walked(struct box *box)
{
    enum { DEPTH = 140 };
    uint64_t nodes[DEPTH + 1] = {ROOT};
    struct stat st;
    for (size_t i = 1; i <= DEPTH; i++)
        nodes[i] = make_dir(box, nodes[i - 1], "d");
    CHECK(box->tree->dirs.count <= 64);
    for (size_t i = DEPTH; i > 37; i -= 37) {
        for (size_t n = 1; n <= DEPTH; n++)
            pcv_dirs_evict(&box->tree->dirs, box_inode(box, nodes[n]));
        CHECK(pcv_tree_stat(box->tree, box_inode(box, nodes[i]), &st) == 0 && st.st_ino == nodes[i]);
        uint64_t f = make_file(box, nodes[i], "f");
        remove_file(box, nodes[i], "f", f);
    }
    for (size_t i = 1; i < DEPTH; i++) /* they stay as long as one below them is known */
        box_forget(box, nodes[i]);
    CHECK(pcv_inodes_count(box->tree->inodes) == DEPTH + 1);
    box_forget(box, nodes[DEPTH]);
    CHECK(pcv_inodes_count(box->tree->inodes) == 1);
    for (size_t depth = DEPTH; depth > 0; depth--) { /* nobody knows them any more */
        uint64_t parent = ROOT;
        for (size_t i = 1; i < depth; i++, parent = nodes[i - 1]) {
            CHECK(box_lookup(box, parent, "d") == 0);
            nodes[i] = box_node(box);
        }
        CHECK(box_rmdir(box, parent, "d") == 0);
        for (size_t i = 1; i < depth; i++)
            box_forget(box, nodes[i]);
    }
}

int main(void)
{
    static void (*const tests[])(struct box *) = {
        test_new_directory_is_known_and_has_an_iv,
        test_new_directory_has_any_mode,
        test_new_file_stays_open,
        test_new_objects_belong_to_who_asked,
        test_group_of_the_parent_is_inherited,
        test_nodes_of_every_kind,
        test_symlinks_hide_their_targets,
        test_file_goes_with_its_last_name,
        test_file_with_a_name_unknown_to_the_kernel_keeps_the_known_one,
        test_directory_that_is_not_empty_stays,
        test_removed_directory_is_held_until_forgotten,
        test_objects_that_nobody_knows_are_removed,
        test_directory_with_left_overs_is_pythons,
        test_rename_takes_the_name_along,
        test_rename_replaces_files_alone,
        test_rename_onto_another_name_of_the_object_does_nothing,
        test_renamed_directory_leads_to_what_is_in_it,
        test_names_that_can_not_be,
        test_long_names_are_made_by_python,
        test_config_is_nobodys_file,
        test_nothing_changes_where_it_must_not,
        test_deep_trees_are_walked,
    };
    for (int names = 0; names < VOLUME_NAMES; names++) {
        for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
            struct box box;
            box_open(&box, (enum volume_names)names);
            tests[i](&box);
            box_close(&box);
        }
    }
    return 0;
}
