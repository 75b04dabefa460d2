// The kernels of energies against a plain evaluation in long double.
#include "../energy.cu"
#include "maps.h"

struct Energies {
    void (*planes)(EnergyTask), (*last)(EnergyTask), (*pull_planes)(EnergyTask), (*pull_last)(EnergyTask);
};

template <class T> static void energies_of(const char *type, const Energies &kernels, const Case &c) {
    check::subject = [=] { return c.text(type); };
    const u64 images = c.outer, channels = c.count, positions = c.inner, all = images * channels * positions;
    std::vector<T> x(all + c.skip), g = x;
    fill(x, g, c);
    std::vector<double> energies(images * positions), slopes(images * positions);
    for (double &slope : slopes) slope = uniform();
    u32 overflowed = 0;
    EnergyTask task{x.data() + c.skip, energies.data(), g.data() + c.skip, &overflowed, images, channels, positions, c.power, 1};
    launch(2, c.channels_last ? kernels.last : kernels.planes, task);
    task.energies = slopes.data();
    launch(2, c.channels_last ? kernels.pull_last : kernels.pull_planes, task);
    for (u64 n = 0; n < images; n++)
        for (u64 m = 0; m < positions; m++) {
            real energy = 0;
            for (u64 i = 0; i < channels; i++) {
                const u64 at = (c.channels_last ? (n * positions + m) * channels + i : (n * channels + i) * positions + m) + c.skip;
                const real y = load(x[at]), size = std::fabs(y);
                energy += std::pow(size, (real)c.power);
                const real want = slopes[n * positions + m] * c.power * std::pow(size, (real)c.power - 1) * (y > 0 ? 1 : y < 0 ? -1 : 0);
                const real half = sizeof(T) == 2 ? 1.0L / 256 : 2e-7L, smallest = sizeof(T) == 2 ? 1e-7L : sizeof(T) == 4 ? 1e-45L : 0;
                expect("gradient", load(g[at]), want, half * std::fabs(want) + smallest);
            }
            expect("energy", energies[n * positions + m], energy, 1e-12L * energy);
        }
}

#define ENERGIES(T) \
    Energies { densekd_energy_planes_##T, densekd_energy_last_##T, densekd_energy_pull_planes_##T, densekd_energy_pull_last_##T }

int main(int count, char **arguments) {
    check::begin(count, arguments);
    const u64 maps[][3] = {{2, 3, 35}, {1, 70, 300}, {3, 1, 1}, {1, 64, 64}};
    for (u32 power : {1, 2, 4})
        for (int form = 0; form < 6; form++)
            for (const auto &shape : maps) {
                Case c{};
                c.outer = shape[0], c.count = shape[1], c.inner = shape[2], c.power = power, c.channels_last = form % 2;
                c.unit = form == 2 ? 1e-12L : form == 3 ? 1e12L : 1, c.skip = form;
                try_case([&] { energies_of<float>("f32", ENERGIES(f32), c); });
                try_case([&] { energies_of<f64>("f64", ENERGIES(f64), c); });
                if (form > 1 && form < 4) continue;
                try_case([&] { energies_of<f16>("f16", ENERGIES(f16), c); });
                try_case([&] { energies_of<bf16>("bf16", ENERGIES(bf16), c); });
            }
    return check::end();
}
