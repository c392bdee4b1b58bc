#include "pcv_base64.h"

/* The value of a character; any bit above the low six: it is none. */
#define NO 0xff

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* By character; 0 is A's value, so what is no digit has to be said. */
static const uint8_t VALUES[256] = {
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, 62, NO, NO, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61,
    NO, NO, NO, NO, NO, NO, NO, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, NO, NO, NO, NO, 63, NO, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
    45, 46, 47, 48, 49, 50, 51, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
};

size_t pcv_base64_size(size_t size, bool is_raw)
{
    const size_t rest = size % 3;
    return size / 3 * 4 + (rest == 0 ? 0 : is_raw ? rest + 1 : 4);
}

void pcv_base64_encode(const uint8_t *data, size_t size, bool is_raw, char *text)
{
    for (; size >= 3; data += 3, size -= 3, text += 4) {
        const uint32_t group = (uint32_t)data[0] << 16 | (uint32_t)data[1] << 8 | data[2];
        text[0] = DIGITS[group >> 18];
        text[1] = DIGITS[group >> 12 & 63];
        text[2] = DIGITS[group >> 6 & 63];
        text[3] = DIGITS[group & 63];
    }
    if (size == 0)
        return;
    const uint32_t group = (uint32_t)data[0] << 16 | (size == 2 ? (uint32_t)data[1] << 8 : 0);
    *text++ = DIGITS[group >> 18];
    *text++ = DIGITS[group >> 12 & 63];
    if (size == 2)
        *text++ = DIGITS[group >> 6 & 63];
    for (; !is_raw && size < 3; size++)
        *text++ = '=';
}

/* Take the padding off; false if it is not what belongs there. */
static bool strip_padding(const char *text, size_t *size)
{
    size_t padding = 0;
    while (padding < *size && text[*size - 1 - padding] == '=')
        padding++;
    *size -= padding;
    return padding == (4 - *size % 4) % 4;
}

bool pcv_base64_decode(const char *text, size_t text_size, bool is_raw, uint8_t *out, size_t room, size_t *size)
{
    if (!is_raw && !strip_padding(text, &text_size))
        return false;
    const uint8_t *in = (const uint8_t *)text;
    const size_t rest = text_size % 4; /* characters: 2 carry a byte, 3 carry two, 1 carries none */
    *size = text_size / 4 * 3 + (rest == 0 ? 0 : rest - 1);
    if (rest == 1 || *size > room)
        return false;
    uint32_t seen = 0; /* the bits of all values and, at the end, those that carry nothing */
    for (; text_size >= 4; in += 4, text_size -= 4, out += 3) {
        const uint32_t a = VALUES[in[0]], b = VALUES[in[1]], c = VALUES[in[2]], d = VALUES[in[3]];
        const uint32_t group = a << 18 | b << 12 | c << 6 | d;
        seen |= a | b | c | d;
        out[0] = (uint8_t)(group >> 16);
        out[1] = (uint8_t)(group >> 8);
        out[2] = (uint8_t)group;
    }
    if (rest != 0) {
        const uint32_t a = VALUES[in[0]], b = VALUES[in[1]], c = rest == 3 ? VALUES[in[2]] : 0;
        const uint32_t group = a << 18 | b << 12 | c << 6;
        const uint32_t stray = group & (rest == 3 ? 0xff : 0xffff);
        seen |= a | b | c | (stray != 0 ? NO : 0);
        out[0] = (uint8_t)(group >> 16);
        if (rest == 3)
            out[1] = (uint8_t)(group >> 8);
    }
    return seen < 64;
}
