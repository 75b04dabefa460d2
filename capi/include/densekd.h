// densekd: losses for distilling dense-prediction networks. Written by `cargo xtask c` of the Rust source, which documents them.
//
// Every function takes any arguments: what cannot be done is a status, and nothing is written then. No function allocates,
// locks, prints or keeps a pointer; different rows may be worked on side by side.

#ifndef DENSEKD_H
#define DENSEKD_H

#include <stddef.h>
#include <stdint.h>

// Done.
#define DENSEKD_OK 0

// A pointer is null.
#define DENSEKD_NULL 1

// A pointer is not aligned to what it points to.
#define DENSEKD_UNALIGNED 2

// More elements than memory has.
#define DENSEKD_LENGTH 3

// The gradient lies over an input.
#define DENSEKD_OVERLAP 4

// The temperature is not a number from 1e-30 to 1e30.
#define DENSEKD_TEMPERATURE 5

// A row of which pieces have been seen. To be initialised before anything else is asked of it; may be copied.
typedef struct densekd_row_state {
  // Nobody's but the library's.
  uint64_t opaque[8];
} densekd_row_state;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// `value` = KL(softmax(teacher / tau) || softmax(student / tau)) of `len` elements each. 0 elements have value 0, and
// their pointers are not looked at. `value` may lie anywhere.
int32_t densekd_row_kl_f32(const float *teacher,
                           const float *student,
                           size_t len,
                           float tau,
                           float *value);

// As `densekd_row_kl_f32`, of the bits of binary16.
int32_t densekd_row_kl_f16(const uint16_t *teacher,
                           const uint16_t *student,
                           size_t len,
                           float tau,
                           float *value);

// As `densekd_row_kl_f32`, of the upper halves of binary32.
int32_t densekd_row_kl_bf16(const uint16_t *teacher,
                            const uint16_t *student,
                            size_t len,
                            float tau,
                            float *value);

// The same value, and `gradient` = scale (softmax(student / tau) - softmax(teacher / tau)) / tau, of `len` elements; it
// must not lie over an input. `value` lies over no input and not over the gradient.
int32_t densekd_row_kl_gradient_f32(const float *teacher,
                                    const float *student,
                                    size_t len,
                                    float tau,
                                    float scale,
                                    float *gradient,
                                    float *value);

// As `densekd_row_kl_gradient_f32`, of the bits of binary16; the gradient is not rounded to them.
int32_t densekd_row_kl_gradient_f16(const uint16_t *teacher,
                                    const uint16_t *student,
                                    size_t len,
                                    float tau,
                                    float scale,
                                    float *gradient,
                                    float *value);

// As `densekd_row_kl_gradient_f32`, of the upper halves of binary32; the gradient is not rounded to them.
int32_t densekd_row_kl_gradient_bf16(const uint16_t *teacher,
                                     const uint16_t *student,
                                     size_t len,
                                     float tau,
                                     float scale,
                                     float *gradient,
                                     float *value);

// What a status says: a text of static life, for any number.
const char *densekd_status_text(int32_t status);

// The version, as `major.minor.patch`: a text of static life.
const char *densekd_version(void);

// Makes `row` one of which nothing has been seen.
int32_t densekd_row_state_init(struct densekd_row_state *row);

// Adds `len` elements, a piece of any length. Every call of one row names the same temperature. Takes up to 20 KB of stack:
// blocks of 256 elements, in `double` where `float` does not hold them.
int32_t densekd_row_state_push_f32(struct densekd_row_state *row,
                                   float tau,
                                   const float *teacher,
                                   const float *student,
                                   size_t len);

// Adds what `other` has seen: another piece of the same row, in any order.
int32_t densekd_row_state_merge(struct densekd_row_state *row,
                                float tau,
                                const struct densekd_row_state *other);

// `value` = the divergence of the row as pushed so far.
int32_t densekd_row_state_value(const struct densekd_row_state *row, float tau, double *value);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DENSEKD_H */
