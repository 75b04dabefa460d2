// The channels of a position of a map, which a team walks together, all arithmetic in f64.
//
//     channels are       a position is walked by
//     planes (NCHW)      a thread
//     last (NHWC)        a warp
#pragma once
#include "vectors.h"

// Where a map's numbers are. Positions are counted over all images.
struct Extent {
    u64 positions, channels;
    u64 inner; // how far the channels of a position are apart
};

template <class T, class Team> struct Position {
    Team team;
    u64 start, inner, channels;

    DEVICE Position(const Extent &map, u64 i)
        : start(i / map.inner * map.channels * map.inner + i % map.inner), inner(map.inner), channels(map.channels) {}

    DEVICE double at(const void *map, u64 c) const { return (double)load(((const T *)map)[start + c * inner]); }

    template <class F> DEVICE void each(F f) const {
        for (u64 c = team.lane(); c < channels; c += Team::SIZE) f(c);
    }

    // Writes what `f` gives for each channel, rounded once; whether a finite number became infinite.
    template <class F> DEVICE bool write(void *gradient, F f) const {
        bool overflows = false;
        each([&](u64 c) INLINE {
            const double exact = f(c);
            const T stored = rounded(T{}, exact);
            overflows |= __builtin_fabs(exact) < INFINITE && __builtin_fabs((double)load(stored)) == INFINITE;
            ((T *)gradient)[start + c * inner] = stored;
        });
        return overflows;
    }
};

// Calls f with the number of each position that this thread's team has.
template <class Team, class F> DEVICE void each_position(const Extent &map, F f) {
    constexpr u64 OF_BLOCK = THREADS / Team::SIZE;
    const u64 first = block_index() * OF_BLOCK + thread_index() / Team::SIZE;
    for (u64 i = first; i < map.positions; i += block_count() * OF_BLOCK) f(i);
}
