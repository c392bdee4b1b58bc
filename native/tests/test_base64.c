/* Base64 with one spelling: what is accepted is told by encoding it again. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "pcv_base64.h"

enum { GUARD = 0xa5, ROOM = 64 };

static uint64_t seed = 1;

/* Whether a text decodes; if so it is what its bytes encode to. */
static bool is_base64(const char *text, size_t size, bool is_raw)
{
    uint8_t data[ROOM + 1];
    char again[2 * ROOM];
    size_t data_size = 0;
    memset(data, GUARD, sizeof data);
    char *copy = exact_copy(text, size);
    const bool is_ok = pcv_base64_decode(copy, size, is_raw, data, ROOM, &data_size);
    free(copy);
    CHECK(data[ROOM] == GUARD);
    if (!is_ok)
        return false;
    CHECK(data_size <= ROOM && data[data_size] == GUARD);
    CHECK(pcv_base64_size(data_size, is_raw) == size);
    pcv_base64_encode(data, data_size, is_raw, again);
    CHECK(memcmp(again, text, size) == 0);
    return true;
}

static void test_vectors_of_rfc_4648(void)
{
    static const char *const padded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t size = 0; size < sizeof padded / sizeof *padded; size++) {
        const size_t padded_size = strlen(padded[size]), raw_size = strcspn(padded[size], "=");
        char text[16];
        CHECK(pcv_base64_size(size, false) == padded_size && pcv_base64_size(size, true) == raw_size);
        memset(text, GUARD, sizeof text);
        pcv_base64_encode((const uint8_t *)"foobar", size, false, text);
        CHECK(memcmp(text, padded[size], padded_size) == 0 && (uint8_t)text[padded_size] == GUARD);
        memset(text, GUARD, sizeof text);
        pcv_base64_encode((const uint8_t *)"foobar", size, true, text);
        CHECK(memcmp(text, padded[size], raw_size) == 0 && (uint8_t)text[raw_size] == GUARD);
        CHECK(is_base64(padded[size], padded_size, false) && is_base64(padded[size], raw_size, true));
        CHECK(is_base64(padded[size], padded_size, true) == (padded_size == raw_size));
        CHECK(is_base64(padded[size], raw_size, false) == (padded_size == raw_size));
    }
    char text[4];
    pcv_base64_encode((const uint8_t *)"\xfb\xff\xfe", 3, true, text); /* the two digits that are not everybody's */
    CHECK(memcmp(text, "-__-", 4) == 0);
}

/* Every text of up to two characters, and every seventh of three. */
static void test_text_has_one_spelling(void)
{
    unsigned int counts[2][4] = {{0}};
    char text[3];
    for (size_t size = 0; size <= 3; size++)
        for (unsigned int n = 0; n < 1U << (8 * size); n += size == 3 ? 7 : 1) {
            for (size_t i = 0; i < size; i++)
                text[i] = (char)(n >> (8 * i));
            counts[0][size] += is_base64(text, size, false);
            counts[1][size] += is_base64(text, size, true);
        }
    CHECK(counts[0][0] == 1 && counts[0][1] == 0 && counts[0][2] == 0 && counts[0][3] == 0);
    CHECK(counts[1][0] == 1 && counts[1][1] == 0 && counts[1][2] == 256); /* one for each byte */
    CHECK(counts[1][3] > (1U << 16) / 7 - 500 && counts[1][3] < (1U << 16) / 7 + 500);
}

/* Any character but padding at any place of a good text: so many are good there as it carries different bits. */
static void test_other_characters_are_refused(bool is_raw)
{
    struct rng rng = {seed};
    uint8_t data[20];
    char text[32];
    for (size_t size = 1; size < sizeof data; size++) {
        rng_fill(&rng, data, size);
        pcv_base64_encode(data, size, is_raw, text);
        const size_t text_size = pcv_base64_size(size, is_raw), digits = pcv_base64_size(size, true);
        for (size_t i = 0; i < digits; i++) {
            const char good = text[i];
            unsigned int count = 0;
            for (unsigned int character = 0; character < 256; character++) {
                text[i] = (char)character;
                count += character != '=' && is_base64(text, text_size, is_raw);
            }
            text[i] = good;
            CHECK(count == (i < digits - 1 || size % 3 == 0 ? 64 : size % 3 == 1 ? 4 : 16));
        }
    }
}

static void test_other_padding_is_refused(void)
{
    for (size_t digits = 0; digits < 9; digits++)
        for (size_t padding = 0; padding < 9; padding++) {
            char text[16];
            memset(text, 'A', digits);
            memset(text + digits, '=', padding);
            const bool is_possible = digits % 4 != 1;
            CHECK(is_base64(text, digits + padding, true) == (is_possible && padding == 0));
            CHECK(is_base64(text, digits + padding, false) == (is_possible && padding == (4 - digits % 4) % 4));
        }
    CHECK(!is_base64("AA=A", 4, false) && !is_base64("A=A=", 4, false) && !is_base64("AA==AAAA", 8, false));
    CHECK(!is_base64("AAAA\n", 5, true) && !is_base64("AAAA\n", 5, false) && !is_base64("AA\0A", 4, true));
}

static void test_decoding_stays_in_its_room(void)
{
    uint8_t data[12];
    size_t size = 0;
    for (size_t room = 0; room < sizeof data; room++)
        for (size_t digits = 0; digits <= 14; digits++) {
            memset(data, GUARD, sizeof data);
            const bool is_ok = pcv_base64_decode("AAAAAAAAAAAAAA", digits, true, data, room, &size);
            CHECK(is_ok == (digits % 4 != 1 && digits * 3 / 4 <= room));
            for (size_t i = room; i < sizeof data; i++)
                CHECK(data[i] == GUARD);
        }
}

int main(int argc, char **argv)
{
    unsigned int rounds = 1;
    check_arguments(argc, argv, &seed, &rounds);
    test_vectors_of_rfc_4648();
    test_text_has_one_spelling();
    test_other_padding_is_refused();
    test_decoding_stays_in_its_room();
    for (; rounds > 0; rounds--, seed++) {
        test_other_characters_are_refused(false);
        test_other_characters_are_refused(true);
    }
    return 0;
}
