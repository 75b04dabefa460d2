// Rows of bf16 that lie together, of which the state says all.
#include "settled.h"

SHORT_ROWS(bf16, 8, 3)
ROWS_OF_WARPS(bf16, 2)
ROWS_OF_BLOCKS(bf16, 128, 4)
ROWS_OF_BLOCKS(bf16, 256, 2)
ROWS_OF_BLOCKS(bf16, 512, 1)
ROWS_OF_DEEP_BLOCKS(bf16)
PARTS_OF_ROWS(bf16, 3)
