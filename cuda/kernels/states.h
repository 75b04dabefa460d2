// States of a row's parts, from which its own is made.
#pragma once
#include "task.h"
#include "team.h"

// States of a row's parts, spread over a warp.
struct Parts {
    static constexpr bool HAS_INSIDE = true;
    using Sum = LongSum;
    const State *first;
    u64 count;
    u32 lane;

    template <class F> DEVICE void each(F f) const {
        for (u64 i = lane; i < count; i += 32) f(first[i], 0);
    }
};
