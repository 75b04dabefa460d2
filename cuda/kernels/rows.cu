// Rows that lie together, of which the state says all: of f32, and what has no gradient of the others.
#include "settled.h"

SHORT_ROWS(f32, 4, 3)
WHOLE_ROWS(f32, 3, 3)
KERNEL(THREADS, 2) void densekd_rows_warp_f32(Task task) { rows::by_warps<Settled<f32>, f32>(task); }

PARTS_OF_ROWS(f32, 4)
PARTS_OF_ROWS(f16, 3)
PARTS_OF_ROWS(bf16, 3)
GRADIENTS_OF_PARTS(f32, 4)
