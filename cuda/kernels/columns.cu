// Rows of f32 whose entries lie apart, of which the state says all.
#include "settled.h"

KERNELS_OF_COLUMNS(f32)
