// Rows of f32 that lie together, of which the state says all.
#include "settled.h"

SHORT_ROWS(f32, 4, 3)
ROWS_OF_WARPS(f32, 3)
KERNEL(THREADS, 2) void densekd_rows_warp_f32(Task task) { rows::by_warps<Settled<f32>, f32>(task); }
ROWS_OF_BLOCKS(f32, 128, 4)
ROWS_OF_BLOCKS(f32, 256, 2)
ROWS_OF_BLOCKS(f32, 512, 1)
ROWS_OF_DEEP_BLOCKS(f32)
PARTS_OF_ROWS(f32, 4)
