#include "replies.h"

#include <string.h>

bool replies_next(const uint8_t *reply, size_t size, bool is_plus, size_t *at, struct shown *out)
{
    struct fuse_dirent head;
    size_t start = *at + (is_plus ? sizeof out->entry : 0);
    if (*at == size)
        return false;
    *out = (struct shown){0};
    CHECK(size - *at > start - *at + FUSE_NAME_OFFSET);
    if (is_plus)
        memcpy(&out->entry, reply + *at, sizeof out->entry);
    memcpy(&head, reply + start, FUSE_NAME_OFFSET);
    CHECK(head.namelen > 0 && head.namelen < sizeof out->name);
    size_t end = *at + FUSE_DIRENT_ALIGN(start - *at + FUSE_NAME_OFFSET + head.namelen);
    CHECK(end <= size);
    memcpy(out->name, reply + start + FUSE_NAME_OFFSET, head.namelen);
    CHECK(strlen(out->name) == head.namelen && !strchr(out->name, '/'));
    out->number = head.ino;
    out->offset = head.off;
    out->type = head.type;
    bool is_dots = strcmp(out->name, ".") == 0 || strcmp(out->name, "..") == 0;
    CHECK(!is_plus || (out->entry.nodeid == 0) == is_dots);
    CHECK(!is_plus || is_dots || (out->entry.nodeid == head.ino && out->entry.attr.ino == head.ino));
    *at = end;
    return true;
}

void replies_lookups(uint32_t opcode, const uint8_t *reply, size_t size, void (*given)(void *arg, uint64_t node),
                     void *arg)
{
    struct fuse_entry_out entry;
    struct shown shown;
    size_t at = 0;
    switch (opcode) {
    case FUSE_LOOKUP:
    case FUSE_CREATE:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_LINK:
        CHECK(size == sizeof entry + (opcode == FUSE_CREATE ? sizeof(struct fuse_open_out) : 0));
        memcpy(&entry, reply, sizeof entry);
        CHECK(entry.nodeid == entry.attr.ino && (entry.nodeid != 0 || opcode == FUSE_LOOKUP));
        if (entry.nodeid != 0)
            given(arg, entry.nodeid);
        break;
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        while (replies_next(reply, size, opcode == FUSE_READDIRPLUS, &at, &shown)) {
            if (shown.entry.nodeid != 0)
                given(arg, shown.entry.nodeid);
        }
        break;
    default:
        break;
    }
}
