/* Numbers as text: exact integers, and doubles that parse back to the very same double in as few digits as will do.
 *
 * A scrape is mostly numbers, and printf with a parse to check it costs about half a microsecond each. So the common
 * range is done in 128-bit integers: a double is m / 2^s, so round(m x 10^k / 2^s) is its correctly rounded decimal with k
 * places, and the remainder of that rounding says whether the decimal lies nearer to this double than to its neighbours.
 * Nothing in that depends on the locale; the rare rest goes through printf, from which only the digits are taken. */
#include "text.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

#include "vaultscope/atomic.h"

__extension__ typedef unsigned __int128 u128;

const char vs_digit_pairs[201] = {
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"};

const uint64_t vs_powers_of_ten[20] = {
    1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u, 10000000000u, 100000000000u,
    1000000000000u, 10000000000000u, 100000000000000u, 1000000000000000u, 10000000000000000u, 100000000000000000u,
    1000000000000000000u, 10000000000000000000u};

enum {
    DIGITS_MAX = 17,     /* always enough for a double */
    FRACTION_BITS = 52,
    EXPONENT_BIAS = 1075 /* of the value as an integer fraction times a power of two */
};

/* A positive number as 0.d1 d2 d3 ... x 10^point, with no zeros at the end. */
typedef struct decimal {
    char digits[VS_U64_CHARS];
    size_t size;
    int point;
} decimal;

static bool set_digits(decimal *d, uint64_t digits, int places)
{
    d->size = (size_t)(vs_write_u64(d->digits, digits) - d->digits);
    d->point = (int)d->size - places;
    while (d->size > 1 && d->digits[d->size - 1] == '0')
        d->size--;
    return true;
}

/* Whole nanounits, below 10^6: what most values are, being times in seconds. Both sides of the division are exact and it
 * rounds correctly, so the test proves that the text parses back; with at most 15 digits no shorter text can. */
static bool set_nanounits(decimal *d, double value)
{
    double nano = value * 1e9;
    if (!(nano < 1e15))
        return false;
    uint64_t whole = (uint64_t)(nano + 0.5);
    if ((double)whole / 1e9 != value)
        return false;
    return set_digits(d, whole, 9);
}

/* A value that is not whole, in 1e-5..2^52: so 1 <= s <= 69, k is at most 21, and m x 10^k stays below 2^123. */
static bool set_exactly(decimal *d, double value)
{
    static const double tenths[] = {1e-1, 1e-2, 1e-3, 1e-4};
    if (!(value >= 1e-5 && value < 0x1p52))
        return false;
    uint64_t bits = vs_bits_of(value);
    uint64_t m = (bits & ((UINT64_C(1) << FRACTION_BITS) - 1)) | UINT64_C(1) << FRACTION_BITS;
    unsigned shift = EXPONENT_BIAS - (unsigned)(bits >> FRACTION_BITS);
    bool lowest = m == UINT64_C(1) << FRACTION_BITS; /* its lower neighbour is only half as far away */
    int point = 0;
    if (value >= 1.0)
        point = (int)vs_u64_digits((uint64_t)value);
    else
        while (point > -4 && value < tenths[-point])
            point--;
    /* A decimal of 15 digits is the only one that a double has, so fewer need no try of their own. */
    for (int size = point > DBL_DIG ? point : DBL_DIG; size <= DIGITS_MAX; size++) {
        int places = size - point;
        u128 power = vs_powers_of_ten[places < 19 ? places : 19];
        if (places > 19)
            power *= vs_powers_of_ten[places - 19];
        u128 scaled = power * m;
        u128 half = (u128)1 << (shift - 1);
        u128 rounded = (scaled + half) >> shift;
        if ((rounded & 1) != 0 && (rounded << shift) - scaled == half)
            rounded--; /* a tie goes to the even digit, as everywhere */
        u128 back = rounded << shift;
        u128 gap = back > scaled ? back - scaled : scaled - back;
        if (gap * (lowest ? 4 : 2) < power)
            return set_digits(d, (uint64_t)rounded, places);
    }
    return false;
}

/* Any finite positive value. printf writes the locale's decimal point, which may be several bytes: it is stepped over. */
static void set_by_printf(decimal *d, double value)
{
    char text[64];
    for (int size = DBL_DIG; size <= DIGITS_MAX; size++) {
        snprintf(text, sizeof text, "%.*e", size - 1, value);
        if (strtod(text, NULL) == value)
            break;
    }
    d->size = 0;
    const char *at = text;
    for (; *at != 'e' && *at != '\0'; at++)
        if (*at >= '0' && *at <= '9' && d->size < sizeof d->digits)
            d->digits[d->size++] = *at;
    d->point = (*at == 'e' ? atoi(at + 1) : 0) + 1;
    while (d->size > 1 && d->digits[d->size - 1] == '0')
        d->size--;
}

static char *write_zeros(char *at, int n)
{
    for (; n > 0; n--)
        *at++ = '0';
    return at;
}

static char *write_fixed(char *at, const decimal *d, bool canonical)
{
    int size = (int)d->size;
    if (d->point <= 0) {
        at = write_zeros(vs_write(at, "0.", 2), -d->point);
        return vs_write(at, d->digits, d->size);
    }
    if (d->point >= size) {
        at = write_zeros(vs_write(at, d->digits, d->size), d->point - size);
        return canonical ? vs_write(at, ".0", 2) : at;
    }
    at = vs_write(at, d->digits, (size_t)d->point);
    *at++ = '.';
    return vs_write(at, d->digits + d->point, d->size - (size_t)d->point);
}

static char *write_scientific(char *at, const decimal *d)
{
    *at++ = d->digits[0];
    if (d->size > 1) {
        *at++ = '.';
        at = vs_write(at, d->digits + 1, d->size - 1);
    }
    int exponent = d->point - 1;
    *at++ = 'e';
    *at++ = exponent < 0 ? '-' : '+';
    exponent = exponent < 0 ? -exponent : exponent;
    if (exponent < 10)
        *at++ = '0'; /* at least two digits, as C and Go have it */
    return vs_write_u64(at, (uint64_t)exponent);
}

char *vs_write_double(char *at, double value, bool canonical)
{
    if (value != value)
        return vs_write(at, "NaN", 3);
    bool negative = vs_bits_of(value) >> 63 != 0;
    if (value - value != 0.0)
        return vs_write(at, negative ? "-Inf" : "+Inf", 4);
    if (negative) {
        *at++ = '-';
        value = -value;
        canonical = canonical || value == 0.0; /* -0.0: a reader that takes "-0" for an integer would lose the sign */
    }
    bool whole = value < 0x1p64 && (double)(uint64_t)value == value;
    if (whole && !canonical)
        return vs_write_u64(at, (uint64_t)value);
    decimal d;
    bool set = whole ? value < 0x1p53 && set_digits(&d, (uint64_t)value, 0)
                     : set_nanounits(&d, value) || set_exactly(&d, value);
    if (!set)
        set_by_printf(&d, value);
    /* OpenMetrics, "Canonical Numbers": an exponent from 1e+06 on, and below 1e-04. */
    bool fixed = d.point > -4 && d.point <= (canonical ? 6 : DIGITS_MAX);
    return fixed ? write_fixed(at, &d, canonical) : write_scientific(at, &d);
}

bool vs_render_double(double value, bool canonical, vs_buffer *out)
{
    if (!vs_buffer_reserve(out, VS_DOUBLE_CHARS))
        return false;
    out->size = (size_t)(vs_write_double(out->data + out->size, value, canonical) - out->data);
    return true;
}

bool vs_render_u64(uint64_t value, vs_buffer *out)
{
    if (!vs_buffer_reserve(out, VS_U64_CHARS))
        return false;
    out->size = (size_t)(vs_write_u64(out->data + out->size, value) - out->data);
    return true;
}
