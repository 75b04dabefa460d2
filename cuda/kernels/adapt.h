// What is done to a map before a loss: where its numbers are, before and after.
#pragma once
#include "vectors.h"

// The numbers of images in one of the two memory orders. The same bytes as `Layout` in src/on.rs.
struct Layout {
    u64 channels, positions; // of an image
    u64 across, along;       // how far channels are apart, and positions

    DEVICE u64 at(u64 image, u64 channel, u64 position) const {
        return image * channels * positions + channel * across + position * along;
    }

    // Whether the channels of a position lie together.
    DEVICE bool is_last() const { return across == 1; }
};

// A number rounded once; whether a finite one became infinite.
template <class T> DEVICE T narrowed(double exact, bool &overflows) {
    const T stored = rounded(T{}, exact);
    overflows |= __builtin_fabs(exact) < INFINITE && __builtin_fabs((double)load(stored)) == INFINITE;
    return stored;
}
