// The kernels of a discriminator's scores and of its gradient's length.
#include "../ho.cu"
#include "relations.h"

struct Ho {
    void (*sums)(HoTask), (*pull)(HoTask);
    u64 width;
};

// A tensor's task, with room for its sums.
template <class T> struct Scores {
    HoTask task{};
    std::vector<double> parts, lengths, values;

    Scores(const Ho &kernels, const T *numbers, T *gradient, u32 *overflowed, u64 vectors, u64 length, Game game) {
        const u64 packs = (length + 2 * (kernels.width - 1)) / kernels.width;
        task.numbers = numbers, task.gradient = gradient, task.overflowed = overflowed, task.vectors = vectors;
        task.length = length, task.parts_of_vector = (packs + 2047) / 2048, task.factor = FACTOR, task.game = game;
        parts.resize(vectors * task.parts_of_vector), lengths.resize(vectors), values.resize(vectors);
        task.parts = parts.data(), task.lengths = lengths.data(), task.values = values.data();
    }
};

// Scores side by side.
template <class T> static Loss<T> ho_of(const Maps &of, const Ho &kernels, Game game) {
    const auto run = [=](const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed) {
        double all = 0;
        for (u32 side = 0; side < 2; side++) {
            const u64 length = of.positions() * of.channels[side];
            Scores<T> scores(kernels, maps[side], gradients[side], overflowed, 1, length, game);
            scores.task.share = side ? 1.0 : 0.5, scores.task.is_negative = !side, scores.task.bit = side ? 1 : 2;
            launch(2, kernels.sums, scores.task), launch(2, kernels.pull, scores.task);
            all += sum_of(scores.parts);
        }
        return all;
    };
    const auto value = [=](const Numbers (&maps)[2]) {
        const auto of_score = [=](real x) { return game == HINGE ? std::max(0.0L, 1 + x) : x; };
        real sum = 0;
        for (real t : maps[0]) sum += 0.5L * of_score(-t);
        for (real s : maps[1]) sum += of_score(s);
        return sum;
    };
    return {game == HINGE ? "ho by hinge" : "ho", run, value};
}

// The student's images as gradients.
template <class T> static Loss<T> length_of(const Maps &of, const Ho &kernels) {
    const auto run = [=](const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed) {
        const u64 length = of.height * of.width * of.channels[1];
        Scores<T> scores(kernels, maps[1], gradients[1], overflowed, of.images, length, LENGTH);
        scores.task.share = 1.0, scores.task.bit = 1;
        launch(2, kernels.sums, scores.task), launch(2, densekd_ho_close, scores.task);
        launch(2, kernels.pull, scores.task);
        return sum_of(scores.values);
    };
    const auto value = [=](const Numbers (&maps)[2]) {
        real sum = 0;
        for (u64 n = 0; n < of.images; n++) {
            real squares = 0;
            for (u64 i = n * of.height * of.width; i < (n + 1) * of.height * of.width; i++)
                for (u64 c = 0; c < of.channels[1]; c++)
                    squares += maps[1][of.index(1, i, c)] * maps[1][of.index(1, i, c)];
            sum += (std::sqrt(squares) - 1) * (std::sqrt(squares) - 1);
        }
        return sum;
    };
    return {"ho of lengths", run, value};
}

#define CHECK(T, WIDTH)                                                                  \
    {                                                                                    \
        const Ho kernels{densekd_ho_sums_##T, densekd_ho_pull_##T, WIDTH};               \
        for (Game game : {SCORES, HINGE}) compare<T>(maps, ho_of<T>(maps, kernels, game)); \
        compare<T>(maps, length_of<T>(maps, kernels));                                   \
    }

int main(int count, char **arguments) {
    check::begin(count, arguments);
    // The last has tensors, and images, in parts.
    for (const Maps &maps : {Maps{2, 5, 7, {6, 3}, false}, Maps{19, 3, 3, {4, 5}, false}, Maps{2, 80, 81, {1, 3}, false}}) {
        CHECK(f32, 4) CHECK(f16, 8) CHECK(bf16, 8) CHECK(f64, 1)
    }
    return check::end();
}
