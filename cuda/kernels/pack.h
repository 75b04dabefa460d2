// Numbers that are read and written by 16 bytes.
#pragma once
#include "task.h"

// Sixteen bytes as numbers.
template <class T> struct Pack {
    static constexpr int WIDTH = 16 / sizeof(T);
    u32x4 words;

    template <class Of> DEVICE static Pack of(Of number) {
        Pack pack;
#pragma unroll
        for (int i = 0; i < 4; i++) pack.words[i] = word(i, number);
        return pack;
    }

    template <class Of> DEVICE static u32 word(int i, Of number) {
        if constexpr (WIDTH == 4)
            return bits<u32>(number(i));
        else
            return number(2 * i).stored | (u32)number(2 * i + 1).stored << 16;
    }

    // Of numbers yet to be rounded.
    template <class Of> DEVICE static Pack rounded_of(Of number) {
        Pack pack;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if constexpr (WIDTH == 4)
                pack.words[i] = bits<u32>(number(i));
            else
                pack.words[i] = rounded_pair(T{}, number(2 * i), number(2 * i + 1));
        }
        return pack;
    }

    // The next word in the place of the first, and so round; four times is none.
    DEVICE void turn() { words = {words[1], words[2], words[3], words[0]}; }

    // The same; numbers of 16 bits are converted once more, as the others would take twice the registers.
    DEVICE Pack anew() const {
        Pack pack = *this;
        if constexpr (WIDTH > 4) {
#pragma unroll
            for (int i = 0; i < 4; i++) pack.words[i] = ::anew(words[i]);
        }
        return pack;
    }

    DEVICE T operator[](int i) const {
        if constexpr (WIDTH == 4)
            return bits<T>(words[i]);
        else
            return {(u16)(words[i / 2] >> i % 2 * 16)};
    }
};
