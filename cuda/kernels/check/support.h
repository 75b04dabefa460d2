// What the checks have in common: numbers to draw, launches, what is expected, and how a check ends.
//
// A check is called with a seed, for the numbers and for the order in which threads run. It ends with 0 where nothing was
// missed, and names the kernels that it launched. Called with `mistakes` as well, it runs each kernel once more for each
// mistake that it may make, in a process of its own, until a case finds it.
#pragma once
#include <algorithm>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

using real = long double;
using device::Mistake;

inline float uniform() { return (float)(device::draw() % 65536) / 32768.0f - 1.0f; }

namespace check {
// A mistake of a kernel: whether the kernel may make it, and whether a case has found it.
struct Trial {
    bool is_due, is_found;
};

struct Kernel {
    std::string name;
    bool is_of_case; // launched in this case
    std::map<Mistake, Trial> trials;
};

inline std::map<void *, Kernel> launched;
inline bool with_mistakes = false;
inline Mistake mistake = Mistake::NONE;
inline const Kernel *of_kernel = nullptr; // that makes the mistake
inline u64 tried = 0, missed = 0;
inline std::function<std::string()> subject; // what the numbers are of

inline void begin(int count, char **arguments) {
    if (count > 1) device::seed = std::strtoull(arguments[1], nullptr, 10);
    with_mistakes = count > 2 && !std::strcmp(arguments[2], "mistakes");
}

inline int end() {
    const char *const names[] = {"", "barriers", "exchanges", "threads", "blocks"};
    u64 found = 0, unseen = 0;
    for (const auto &[at, kernel] : launched) {
        std::printf("kernel %s\n", kernel.name.c_str());
        for (const auto &[of, trial] : kernel.trials) {
            found += trial.is_found, unseen += trial.is_due && !trial.is_found;
            if (with_mistakes && trial.is_due && !trial.is_found)
                std::printf("%s: wrong %s are not found\n", kernel.name.c_str(), names[(int)of]);
        }
    }
    std::printf("%llu numbers, %llu missed", tried, missed);
    if (with_mistakes) std::printf("; %llu mistakes, %llu not found", found + unseen, unseen);
    std::printf("\n");
    return missed > 0 || tried == 0 || (with_mistakes && unseen > 0);
}

// Whether a case in which a kernel makes a mistake misses a number, is stopped by a sanitizer or does not end.
template <class Case> bool finds(const Kernel &kernel, Mistake of, u64 seed, Case run) {
    const pid_t child = fork();
    if (child == 0) {
        if (!std::freopen("/dev/null", "w", stdout) || !std::freopen("/dev/null", "w", stderr)) _exit(0);
        alarm(20);
        // Shared memory has what other numbers left there, not those that the mistake would miss.
        run();
        mistake = of, of_kernel = &kernel, device::seed = seed;
        run();
        _exit(0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && status != 0;
}
} // namespace check

// Runs a case: launches, and what is expected of them.
template <class Case> void try_case(Case run) {
    for (auto &[at, kernel] : check::launched) kernel.is_of_case = false;
    const u64 seed = device::seed;
    run();
    if (!check::with_mistakes) return;
    for (auto &[at, kernel] : check::launched)
        for (auto &[of, trial] : kernel.trials)
            if (kernel.is_of_case && trial.is_due && !trial.is_found)
                trial.is_found = check::finds(kernel, of, seed, run);
}

// Blocks of so many threads.
template <class... Given>
void launch_of(u32 threads, u32 blocks, void (*kernel)(Given...), std::common_type_t<Given>... given) {
    check::Kernel &known = check::launched[(void *)kernel];
    Dl_info info;
    if (known.name.empty() && dladdr((void *)kernel, &info) && info.dli_sname) known.name = info.dli_sname;
    device::mistake = &known == check::of_kernel ? check::mistake : Mistake::NONE;
    device::has_barrier = device::has_exchange = false;
    device::launch(blocks, threads, [=] { kernel(given...); });
    known.is_of_case = known.trials[Mistake::THREAD].is_due = known.trials[Mistake::BLOCK].is_due = true;
    known.trials[Mistake::BARRIER].is_due |= device::has_barrier;
    known.trials[Mistake::EXCHANGE].is_due |= device::has_exchange;
}

template <class... Given>
void launch(u32 blocks, void (*kernel)(Given...), std::common_type_t<Given>... given) {
    launch_of(THREADS, blocks, kernel, given...);
}

inline void expect(const char *what, real got, real want, real tolerance) {
    check::tried++;
    if (std::fabs(got - want) <= tolerance || (got != got && want != want) || got == want) return;
    if (check::of_kernel) _exit(1);
    std::printf("%s: %s %.12Lg, wanted %.12Lg\n", check::subject().c_str(), what, got, want);
    if (++check::missed == 10) std::exit(check::end());
}

template <class... Given> std::string text(const char *form, Given... given) {
    char line[400];
    std::snprintf(line, sizeof line, form, given...);
    return line;
}
