/* vaultscope: the observability core of a content-addressed store. The umbrella header.
 *
 * Everything here is plain C11 and needs no Python. Hot operations (counter, gauge, histogram, hdr, log) take
 * no lock, allocate nothing and cannot fail; cold ones (arena, registry, snapshot, render, drain) return a
 * vs_status. Each header states its thread rule, its progress guarantee and its ownership. */
#ifndef VAULTSCOPE_H
#define VAULTSCOPE_H

#include "vaultscope/arena.h"
#include "vaultscope/atomic.h"
#include "vaultscope/base.h"
#include "vaultscope/buffer.h"
#include "vaultscope/counter.h"
#include "vaultscope/drain.h"
#include "vaultscope/exemplar.h"
#include "vaultscope/gauge.h"
#include "vaultscope/hdr.h"
#include "vaultscope/histogram.h"
#include "vaultscope/id.h"
#include "vaultscope/level.h"
#include "vaultscope/log.h"
#include "vaultscope/loss.h"
#include "vaultscope/record.h"
#include "vaultscope/registry.h"
#include "vaultscope/render.h"
#include "vaultscope/ring.h"
#include "vaultscope/snapshot.h"
#include "vaultscope/span.h"
#include "vaultscope/stripe.h"
#include "vaultscope/tally.h"

#endif
