// Rows of f16 that lie together, of which the state says all.
#include "settled.h"

SHORT_ROWS(f16, 8, 3)
ROWS_OF_WARPS(f16, 2)
ROWS_OF_BLOCKS(f16, 128, 4)
ROWS_OF_BLOCKS(f16, 256, 2)
ROWS_OF_BLOCKS(f16, 512, 1)
ROWS_OF_DEEP_BLOCKS(f16)
PARTS_OF_ROWS(f16, 3)
