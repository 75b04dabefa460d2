// Rows of f16 and bf16 that lie together, of which the state says all: what rounds gradients, two at once where the device
// can.
#include "settled.h"

SHORT_ROWS(f16, 8, 3)
SHORT_ROWS(bf16, 8, 3)

WHOLE_ROWS(f16, 2, 2)
WHOLE_ROWS(bf16, 2, 2)

GRADIENTS_OF_PARTS(f16, 3)
GRADIENTS_OF_PARTS(bf16, 3)
