// Losses of relations against plain formulas in long double, their gradients against differences of these.
#pragma once
#include "../position.h"
#include "support.h"

using Numbers = std::vector<real>;

// Two maps of the same images and positions.
struct Maps {
    u64 images, height, width, channels[2]; // of teacher and student
    bool is_last;

    u64 positions() const { return images * height * width; }
    Extent extent(int side) const { return {positions(), channels[side], is_last ? 1 : height * width}; }
    u64 index(int side, u64 i, u64 c) const {
        const u64 m = height * width, n = i / m;
        return is_last ? i * channels[side] + c : (n * channels[side] + c) * m + i % m;
    }
    Maps last(bool is_so) const {
        Maps maps = *this;
        maps.is_last = is_so;
        return maps;
    }
};

// A loss: what the kernels make of two maps, and its value in long double.
template <class T> struct Loss {
    const char *name;
    std::function<double(const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed)> run;
    std::function<real(const Numbers (&maps)[2])> value;
};

inline double sum_of(const std::vector<double> &values) {
    double sum = 0;
    for (double value : values) sum += value;
    return sum;
}

// The factor of all gradients.
constexpr double FACTOR = 3.0;

// Numbers of which no channel of an image has one twice: the largest of some is one.
template <class T> std::vector<T> numbers_of(const Maps &maps, int side) {
    std::vector<T> numbers(maps.positions() * maps.channels[side]);
    const u64 image = maps.height * maps.width;
    for (u64 i = 0; i < maps.positions(); i++)
        for (u64 c = 0; c < maps.channels[side]; c++) {
            T &x = numbers[maps.index(side, i, c)];
            const auto is_there = [&] {
                for (u64 j = i / image * image; j < i; j++)
                    if (load(numbers[maps.index(side, j, c)]) == load(x)) return true;
                return false;
            };
            // Of long channels that would take long, and a half has not so many.
            do x = rounded(T{}, uniform());
            while (image < 200 && is_there());
        }
    return numbers;
}

template <class T> void compare_once(const Maps &of, const Loss<T> &loss) {
    check::subject = [=] {
        return text("%s of %llu bytes [%llu %llu/%llu %llu %llu] last %d", loss.name, (u64)sizeof(T), of.images,
                    of.channels[0], of.channels[1], of.height, of.width, of.is_last);
    };
    std::vector<T> stored[2], gradient[2];
    Numbers maps[2];
    for (int side = 0; side < 2; side++) {
        stored[side] = numbers_of<T>(of, side), gradient[side].resize(stored[side].size());
        for (T x : stored[side]) maps[side].push_back(load(x));
    }
    u32 overflowed = 0;
    const real got = loss.run({stored[0].data(), stored[1].data()}, {gradient[0].data(), gradient[1].data()}, &overflowed);
    const real want = loss.value(maps);
    expect("value", got, want, 1e-11L * std::fabs(want) + 1e-13L);
    for (int side = 0; side < 2; side++) {
        real largest = 0;
        for (T x : gradient[side]) largest = std::max(largest, std::fabs((real)load(x)));
        // The first, the last and some between.
        for (u64 turn = 0; turn < 12; turn++) {
            const u64 last = maps[side].size() - 1, at = turn == 0 ? 0 : turn == 1 ? last : device::draw() % last;
            real &x = maps[side][at];
            const real old = x, step = 1e-6L;
            x = old + step;
            const real above = loss.value(maps);
            x = old - step;
            const real slope = FACTOR * (above - loss.value(maps)) / (2 * step);
            x = old;
            const real half = sizeof(T) == 2 ? 1.0L / 256 : 0;
            expect(side ? "to the student" : "to the teacher", load(gradient[side][at]), slope,
                   1e-6L * largest + 1e-9L + half * std::fabs(slope) + (half > 0 ? 1e-7L : 0));
        }
    }
}

template <class T> void compare(const Maps &of, const Loss<T> &loss) {
    try_case([&] { compare_once(of, loss); });
}

// Both orders in memory of some shapes.
template <class F> void each_map(const std::vector<Maps> &shapes, F f) {
    for (const Maps &maps : shapes)
        for (bool is_last : {false, true}) f(maps.last(is_last));
}
