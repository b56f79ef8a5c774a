/* Limits on what is repeated. Where a period ends, a call or two may be counted to the wrong side; none is lost from the counts. */
#include "vaultscope/log.h"

bool vs_limiter_pass(vs_limiter *limiter, int64_t now_ns, uint64_t *suppressed)
{
    /* Relaxed, all of it: counts, and nothing hangs on them. */
    uint64_t window = (uint64_t)now_ns / limiter->period_ns + 1;
    uint64_t seen = vs_load_relaxed(&limiter->window);
    while (seen < window) /* a clock that steps back ends no period */
        if (vs_cas_weak_relaxed(&limiter->window, &seen, window)) {
            vs_store_relaxed(&limiter->passed, 0);
            break;
        }
    if (vs_add_relaxed(&limiter->passed, 1u) < limiter->limit) {
        *suppressed = vs_exchange_relaxed(&limiter->suppressed, 0);
        return true;
    }
    vs_add_relaxed(&limiter->suppressed, 1u);
    return false;
}
