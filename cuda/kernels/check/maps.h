// Pairs of maps of which vectors, energies and classes are checked.
#pragma once
#include "support.h"

struct Case {
    u64 outer, count, inner; // of energies: images, channels, positions
    u32 normalisation, has_root, power;
    real offset, distance, unit;
    int skip; // numbers before the tensors' first: any alignment
    bool channels_last;

    std::string text(const char *type) const {
        return ::text("%s [%llu %llu %llu] scale %u root %u p %u offset %Lg distance %Lg unit %Lg skip %d last %d", type,
                      outer, count, inner, normalisation, has_root, power, offset, distance, unit, skip,
                      channels_last);
    }
};

template <class T> static void fill(std::vector<T> &s, std::vector<T> &t, const Case &c) {
    for (u64 i = 0; i < s.size(); i++) {
        const real x = c.offset + uniform();
        s[i] = rounded(T{}, (double)(x * c.unit)), t[i] = rounded(T{}, (double)((x + c.distance * uniform()) * c.unit));
    }
}
