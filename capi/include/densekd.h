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

// The scale is not a number from 1e-30 to 1e30.
#define DENSEKD_SCALE 6

// The tables are of two temperatures.
#define DENSEKD_TABLES 7

// The row is none that integers hold.
#define DENSEKD_RANGE 8

// The bytes are no table of a teacher's rows.
#define DENSEKD_TABLE 9

// The table has no such row of so many elements.
#define DENSEKD_ROW 10

// The row is to be pushed once more.
#define DENSEKD_AGAIN 11

// A row of int8 with one meaning: of a tensor quantised as a whole, or one channel of a map. Its numbers are
// scale (value - zero_point), as TFLite and CMSIS-NN have it.
typedef struct densekd_int8_row {
  const int8_t *values;
  float scale;
  int32_t zero_point;
} densekd_int8_row;

// A position's channels in int8, each with a meaning of its own.
typedef struct densekd_int8_channels {
  const int8_t *values;
  const float *scales;
  const int32_t *zero_points;
} densekd_int8_channels;

// A table of exponentials for one scale and temperature, of 1040 bytes. To be initialised before it is used.
typedef struct densekd_exp_table {
  // Nobody's but the library's.
  uint64_t opaque[130];
} densekd_exp_table;

// A row of which pieces have been seen. To be initialised before anything else is asked of it; may be copied.
typedef struct densekd_row_pieces {
  // Nobody's but the library's.
  uint64_t opaque[8];
} densekd_row_pieces;

// A row of which pieces have been seen. To be initialised before anything else is asked of it; may be copied.
typedef struct densekd_row_state {
  // Nobody's but the library's.
  uint64_t opaque[8];
} densekd_row_state;

// What a table of a teacher's rows is of.
typedef struct densekd_teacher_shape {
  // How many rows there are.
  size_t rows;
  // Elements of a row.
  size_t entries;
  // The temperature of which the rows are, and of a divergence from them.
  float tau;
} densekd_teacher_shape;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// `value` = KL(softmax(teacher / tau) || softmax(student / tau)) of `len` int8 each, as exact as of `float`.
int32_t densekd_row_kl_i8(const struct densekd_int8_row *teacher,
                          const struct densekd_int8_row *student,
                          size_t len,
                          float tau,
                          float *value);

// The same value, and `gradient` = scale (softmax(student / tau) - softmax(teacher / tau)) / tau: to the numbers, not to the
// steps. It lies over no input, as `value` does not.
int32_t densekd_row_kl_gradient_i8(const struct densekd_int8_row *teacher,
                                   const struct densekd_int8_row *student,
                                   size_t len,
                                   float tau,
                                   float scale,
                                   float *gradient,
                                   float *value);

// As `densekd_row_kl_i8`, of channels with a scale and zero point each.
int32_t densekd_row_kl_i8_channels(const struct densekd_int8_channels *teacher,
                                   const struct densekd_int8_channels *student,
                                   size_t len,
                                   float tau,
                                   float *value);

// As `densekd_row_kl_gradient_i8`, of channels with a scale and zero point each.
int32_t densekd_row_kl_gradient_i8_channels(const struct densekd_int8_channels *teacher,
                                            const struct densekd_int8_channels *student,
                                            size_t len,
                                            float tau,
                                            float scale,
                                            float *gradient,
                                            float *value);

// Makes the table: 256 exponentials, once for a scale and a temperature.
int32_t densekd_exp_table_init(struct densekd_exp_table *table, float scale, float tau);

// The same by tables, which may be one: three fifths of the cost, a twentieth without an FPU. The error is absolute, at most
// len 2^-32 (1 + R) for log-ratios up to R. NaN for more than 2^24 elements.
int32_t densekd_int8_kl(const struct densekd_exp_table *teacher_table,
                        const struct densekd_exp_table *student_table,
                        const int8_t *teacher,
                        const int8_t *student,
                        size_t len,
                        float *value);

// The same value, and the gradient as `densekd_row_kl_gradient_i8` has it. It lies over no row and no table.
int32_t densekd_int8_kl_gradient(const struct densekd_exp_table *teacher_table,
                                 const struct densekd_exp_table *student_table,
                                 const int8_t *teacher,
                                 const int8_t *student,
                                 size_t len,
                                 float scale,
                                 float *gradient,
                                 float *value);

// As `densekd_row_kl_f32`, in integers: for cores without an FPU. The error is absolute, at most 4e-8 (1 + R) len/Z for
// log-ratios up to R and exponentials, of which the largest is 1, that sum up to Z. `DENSEKD_RANGE` where the row is empty,
// has an element that is not finite, or two that are 22 tau or more apart: `densekd_row_kl_f32` has an answer.
int32_t densekd_row_kl_integer_f32(const float *teacher,
                                   const float *student,
                                   size_t len,
                                   float tau,
                                   float *value);

// The same value, and the gradient as `densekd_row_kl_gradient_f32` has it.
int32_t densekd_row_kl_gradient_integer_f32(const float *teacher,
                                            const float *student,
                                            size_t len,
                                            float tau,
                                            float scale,
                                            float *gradient,
                                            float *value);

// After the last piece: `value` = the divergence, or `DENSEKD_AGAIN` where all pieces are to be pushed once more, which is
// asked for up to nine times.
int32_t densekd_row_pieces_end(struct densekd_row_pieces *row,
                               float tau,
                               float *value);

// Makes `row` one of which these are some elements, those at the same places of both: its first piece, or what stands for it
// better. A row that they stand for is pushed once, another more often. Every call of one row names the same temperature.
int32_t densekd_row_pieces_init_f32(struct densekd_row_pieces *row,
                                    float tau,
                                    const float *teacher,
                                    const float *student,
                                    size_t len);

// Adds `len` elements: all pieces of a row, in order, until `densekd_row_pieces_end`. The bits of what follows are the same
// wherever the row is cut. `row` lies over no piece.
int32_t densekd_row_pieces_push_f32(struct densekd_row_pieces *row,
                                    float tau,
                                    const float *teacher,
                                    const float *student,
                                    size_t len);

// `gradient` = scale (softmax(student / tau) - softmax(teacher / tau)) / tau of a piece, of a row that has ended; pieces may
// come in any order. It lies neither over the piece nor over `row`. NaN of a row that has not ended.
int32_t densekd_row_pieces_gradient_f32(const struct densekd_row_pieces *row,
                                        float tau,
                                        const float *teacher,
                                        const float *student,
                                        size_t len,
                                        float scale,
                                        float *gradient);

// As `densekd_row_pieces_init_f32`, of the bits of binary16.
int32_t densekd_row_pieces_init_f16(struct densekd_row_pieces *row,
                                    float tau,
                                    const uint16_t *teacher,
                                    const uint16_t *student,
                                    size_t len);

// As `densekd_row_pieces_push_f32`, of the bits of binary16.
int32_t densekd_row_pieces_push_f16(struct densekd_row_pieces *row,
                                    float tau,
                                    const uint16_t *teacher,
                                    const uint16_t *student,
                                    size_t len);

// As `densekd_row_pieces_gradient_f32`, of the bits of binary16; the gradient is not rounded to them.
int32_t densekd_row_pieces_gradient_f16(const struct densekd_row_pieces *row,
                                        float tau,
                                        const uint16_t *teacher,
                                        const uint16_t *student,
                                        size_t len,
                                        float scale,
                                        float *gradient);

// As `densekd_row_pieces_init_f32`, of the upper halves of binary32.
int32_t densekd_row_pieces_init_bf16(struct densekd_row_pieces *row,
                                     float tau,
                                     const uint16_t *teacher,
                                     const uint16_t *student,
                                     size_t len);

// As `densekd_row_pieces_push_f32`, of the upper halves of binary32.
int32_t densekd_row_pieces_push_bf16(struct densekd_row_pieces *row,
                                     float tau,
                                     const uint16_t *teacher,
                                     const uint16_t *student,
                                     size_t len);

// As `densekd_row_pieces_gradient_f32`, of the upper halves of binary32; the gradient is not rounded to them.
int32_t densekd_row_pieces_gradient_bf16(const struct densekd_row_pieces *row,
                                         float tau,
                                         const uint16_t *teacher,
                                         const uint16_t *student,
                                         size_t len,
                                         float scale,
                                         float *gradient);

// As `densekd_row_pieces_init_f32`, of int8 each: the descriptions are of these elements.
int32_t densekd_row_pieces_init_i8(struct densekd_row_pieces *row,
                                   float tau,
                                   const struct densekd_int8_row *teacher,
                                   const struct densekd_int8_row *student,
                                   size_t len);

// As `densekd_row_pieces_push_f32`, of int8 each: the descriptions are of the piece.
int32_t densekd_row_pieces_push_i8(struct densekd_row_pieces *row,
                                   float tau,
                                   const struct densekd_int8_row *teacher,
                                   const struct densekd_int8_row *student,
                                   size_t len);

// As `densekd_row_pieces_gradient_f32`, of int8 each: to the numbers, not to the steps.
int32_t densekd_row_pieces_gradient_i8(const struct densekd_row_pieces *row,
                                       float tau,
                                       const struct densekd_int8_row *teacher,
                                       const struct densekd_int8_row *student,
                                       size_t len,
                                       float scale,
                                       float *gradient);

// As `densekd_row_pieces_init_f32`, of a row of a teacher's table from its element `start` on, at the table's temperature.
int32_t densekd_row_pieces_init_teacher_f32(struct densekd_row_pieces *row,
                                            const uint8_t *table,
                                            size_t size,
                                            size_t index,
                                            size_t start,
                                            const float *student,
                                            size_t len);

// As `densekd_row_pieces_push_f32`, beside `len` elements of a row of a teacher's table from `start` on.
int32_t densekd_row_pieces_push_teacher_f32(struct densekd_row_pieces *row,
                                            const uint8_t *table,
                                            size_t size,
                                            size_t index,
                                            size_t start,
                                            const float *student,
                                            size_t len);

// As `densekd_row_pieces_gradient_f32`, beside `len` elements of a row of a teacher's table from `start` on. It does not lie over
// the table.
int32_t densekd_row_pieces_gradient_teacher_f32(const struct densekd_row_pieces *row,
                                                const uint8_t *table,
                                                size_t size,
                                                size_t index,
                                                size_t start,
                                                const float *student,
                                                size_t len,
                                                float scale,
                                                float *gradient);

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

// What a table of `size` bytes is of, as `densekd prepare` writes one. It may lie at any address.
int32_t densekd_teacher_read_shape(const uint8_t *table,
                                   size_t size,
                                   struct densekd_teacher_shape *shape);

// `value` = KL(a row of the table || softmax(student / tau)), tau being the table's and `len` its rows' elements; `value`
// does not lie over the table. What the table's rounding costs is said where the format is described.
int32_t densekd_teacher_kl_f32(const uint8_t *table,
                               size_t size,
                               size_t index,
                               const float *student,
                               size_t len,
                               float *value);

// The same value, and `gradient` = scale (softmax(student / tau) - p) / tau, p being the row's probabilities. It lies neither
// over the student nor over the table; `value` lies over none of the three.
int32_t densekd_teacher_kl_gradient_f32(const uint8_t *table,
                                        size_t size,
                                        size_t index,
                                        const float *student,
                                        size_t len,
                                        float scale,
                                        float *gradient,
                                        float *value);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DENSEKD_H */
