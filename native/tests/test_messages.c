/* The messages that the other tests send are what they say: sound ones are sound, mangled ones mostly not, and none is
 * longer than a driver has room for.
 *
 * Usage: test_messages [SEED [ROUNDS]] */
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "messages.h"

#define ROOM (MESSAGE_DATA_MAX + (64 << 10))

static const uint64_t nodes[] = {1, 20, 100, 101};
static const char *const names[] = {"a", "name", "with spaces", "\xff\xfe"};
static const struct message_words words = {nodes, 4, names, 4};

/* Those that need not become unsound: other numbers or nodes are a matter of what is there. */
static bool may_stay_sound(enum message_mangling how)
{
    return how == MANGLE_NODE || how == MANGLE_NUMBERS || how == MANGLE_NAME || how == MANGLE_OPCODE;
}

static void test_kinds_are_listed_once(void)
{
    for (size_t i = 0; i < message_kind_count; i++) {
        CHECK(message_kind_of(message_kinds[i].opcode) == &message_kinds[i]);
        CHECK(message_kinds[i].tail < TAIL_DATA ||
              message_kinds[i].count_field + sizeof(uint32_t) <= message_kinds[i].fixed);
    }
    CHECK(message_kind_of(0) == NULL && message_kind_of(7) == NULL && message_kind_of(4096) == NULL);
}

static void test_messages_are_what_they_say(struct rng *rng, const struct message_kind *kind, uint8_t *message)
{
    size_t size = message_make(rng, kind, &words, message);
    CHECK(size <= ROOM && message_is_sound(message, size));
    uint8_t *copy = malloc(ROOM);
    CHECK(copy != NULL);
    for (int how = 0; how < MESSAGE_MANGLINGS; how++) {
        memcpy(copy, message, size);
        size_t spoiled = message_mangle(rng, (enum message_mangling)how, copy, size);
        bool is_same = spoiled == size && memcmp(copy, message, size) == 0;
        CHECK(spoiled >= sizeof(struct fuse_in_header) && spoiled <= ROOM);
        CHECK(is_same || may_stay_sound((enum message_mangling)how) || !message_is_sound(copy, spoiled));
    }
    free(copy);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    unsigned int rounds = 200;
    check_arguments(argc, argv, &seed, &rounds);
    struct rng rng = {seed};
    uint8_t *message = malloc(ROOM);
    CHECK(message != NULL);
    test_kinds_are_listed_once();
    for (unsigned int i = 0; i < rounds; i++) {
        for (size_t kind = 0; kind < message_kind_count; kind++)
            test_messages_are_what_they_say(&rng, &message_kinds[kind], message);
    }
    free(message);
    return 0;
}
