/* A sum of doubles that keeps what each addition rounds off, so that the order of addition does not show.
 *
 * It must not: when a dead process's cells move into the archive (fold.c) the same values are added in another order, and a total
 * that went down by the last bit would look like a restart to a scraper. */
#ifndef VAULTSCOPE_SUM_H
#define VAULTSCOPE_SUM_H

typedef struct vs_sum {
    double high;
    double low; /* rounded off so far (Knuth's two-sum) */
} vs_sum;

static inline void vs_sum_add(vs_sum *sum, double value)
{
    double total = sum->high + value;
    double added = total - sum->high;
    sum->low += (sum->high - (total - added)) + (value - added);
    sum->high = total;
}

static inline double vs_sum_value(const vs_sum *sum)
{
    return sum->low - sum->low == 0.0 ? sum->high + sum->low : sum->high; /* past the range low is no number */
}

#endif
