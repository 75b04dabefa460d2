// Rows whose entries lie apart, of which the state says all.
#include "columns.h"

#define KERNELS_OF(T)                                                                                    \
    KERNEL(THREADS) void densekd_columns_short_##T(Task task) {                                          \
        columns::by_thread<Settled<T>, T>(task);                                                         \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_columns_parts_##T(Task task) {                                          \
        columns::each_part<T>(task, StateOfPart{task});                                                  \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_columns_gradient_##T(Task task) {                                       \
        columns::each_part<T>(task, GradientsOfPart<Settled<T>>{task});                                  \
    }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)

#undef KERNELS_OF
