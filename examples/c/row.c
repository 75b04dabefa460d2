/* A row's loss and gradient, at once and in pieces. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "densekd.h"

#define CLASSES 5

static int check(int32_t status, const char *what)
{
    if (status != DENSEKD_OK) {
        fprintf(stderr, "%s: %s\n", what, densekd_status_text(status));
        return 1;
    }
    return 0;
}

/* What a transfer brings at once: anything from nothing to 40 elements. */
static size_t piece(size_t left)
{
    static uint32_t state = 1;
    size_t length;
    state = state * 1664525U + 1013904223U;
    length = (state >> 16) % 41U;
    return length < left ? length : left;
}

/* A row that does not fit into memory: its pieces for the loss, and once more for the gradient. */
static int in_pieces(void)
{
    enum { LENGTH = 300 };
    static float teacher[LENGTH], student[LENGTH], whole[LENGTH], gradient[LENGTH];
    static int8_t steps[LENGTH];
    const float tau = 4.0F;
    float value = -1.0F, in_memory = -2.0F;
    densekd_row_pieces row;
    int32_t status;
    size_t at, length;
    int wrong = 0;
    int i;

    for (i = 0; i < LENGTH; i++) {
        teacher[i] = (float)(i * 37 % 64) / 8.0F;
        student[i] = teacher[i] + (float)(i * 29 % 16) / 8.0F;
        steps[i] = (int8_t)(i * 53 % 256 - 128);
    }

    /* Of the row in memory a sample is all of it: the same numbers to the last bit. */
    wrong |= check(densekd_row_kl_gradient_f32(teacher, student, LENGTH, tau, 16.0F, whole, &in_memory), "row");
    wrong |= check(densekd_row_pieces_init_f32(&row, tau, teacher, student, LENGTH), "init");
    do {
        for (at = 0; at < LENGTH; at += length) {
            length = piece(LENGTH - at);
            wrong |= check(densekd_row_pieces_push_f32(&row, tau, teacher + at, student + at, length), "push");
        }
        status = densekd_row_pieces_end(&row, tau, &value);
    } while (status == DENSEKD_AGAIN);
    wrong |= check(status, "end");
    for (at = 0; at < LENGTH; at += length) {
        length = piece(LENGTH - at);
        status = densekd_row_pieces_gradient_f32(&row, tau, teacher + at, student + at, length, 16.0F, gradient + at);
        wrong |= check(status, "gradient");
    }
    printf("KL %.8f in pieces, %.8f in memory\n", (double)value, (double)in_memory);
    wrong |= memcmp(&value, &in_memory, sizeof value) != 0 || memcmp(gradient, whole, sizeof whole) != 0;

    /* int8, whose sample is its first piece: the same wherever it is cut. */
    for (i = 0; i < 2; i++) {
        const densekd_int8_row sample[2] = {{steps, 0.05F, 0}, {steps + 1, 0.05F, 3}};
        wrong |= check(densekd_row_pieces_init_i8(&row, tau, &sample[0], &sample[1], 40), "init");
        do {
            for (at = 0; at < LENGTH - 1; at += length) {
                const densekd_int8_row part[2] = {{steps + at, 0.05F, 0}, {steps + 1 + at, 0.05F, 3}};
                length = piece(LENGTH - 1 - at);
                wrong |= check(densekd_row_pieces_push_i8(&row, tau, &part[0], &part[1], length), "push");
            }
            status = densekd_row_pieces_end(&row, tau, &value);
        } while (status == DENSEKD_AGAIN);
        wrong |= check(status, "end");
        for (at = 0; at < LENGTH - 1; at += length) {
            const densekd_int8_row part[2] = {{steps + at, 0.05F, 0}, {steps + 1 + at, 0.05F, 3}};
            length = piece(LENGTH - 1 - at);
            status = densekd_row_pieces_gradient_i8(&row, tau, &part[0], &part[1], length, 16.0F, gradient + at);
            wrong |= check(status, "gradient");
        }
        if (i == 1) {
            wrong |= memcmp(&value, &in_memory, sizeof value) != 0 || memcmp(gradient, whole, sizeof whole - 4) != 0;
        }
        in_memory = value;
        memcpy(whole, gradient, sizeof whole);
    }
    return wrong;
}

int main(void)
{
    const float teacher[CLASSES] = {0.5F, -1.0F, 2.0F, 0.0F, 0.25F};
    const float student[CLASSES] = {0.25F, -1.0F, 1.0F, 0.5F, 0.0F};
    const float tau = 4.0F;
    const int8_t steps[2][CLASSES] = {{10, -20, 40, 0, 5}, {8, -32, 32, 16, 0}};
    const densekd_int8_row quantized[2] = {{steps[0], 0.05F, 0}, {steps[1], 0.03125F, 0}};
    /* A teacher's rows as `densekd prepare` writes them: one row of five, at temperature 4, in steps of 1/8. */
    static const uint8_t file[28 + CLASSES] = {
        'd', 'k', 'd', '-', 'r', 'o', 'w', 's', 1, 0, 0, 0, 1, 0, 0, 0, CLASSES, 0, 0, 0,
        0, 0, 0x80, 0x40, 0, 0, 0, 0x3E, 12, 24, 0, 16, 14};
    densekd_teacher_shape shape;
    float from_flash = -1.0F;
    densekd_exp_table tables[2];
    float gradient[CLASSES];
    float careful = -1.0F;
    float by_tables = -1.0F;
    float value = -1.0F;
    float sum = 0.0F;
    double pushed = -1.0;
    densekd_row_state row;
    int wrong = 0;
    int i;

    printf("densekd %s\n", densekd_version());
    /* tau^2 makes gradients of all temperatures alike. */
    wrong |= check(densekd_row_kl_gradient_f32(teacher, student, CLASSES, tau, tau * tau, gradient, &value), "row");
    for (i = 0; i < CLASSES; i++) {
        printf("%s%.6f", i == 0 ? "gradient " : ", ", (double)gradient[i]);
        sum += gradient[i];
    }
    printf("\nKL %.8f\n", (double)value);

    /* The same row as two pieces. */
    wrong |= check(densekd_row_state_init(&row), "state");
    wrong |= check(densekd_row_state_push_f32(&row, tau, teacher, student, 2), "first piece");
    wrong |= check(densekd_row_state_push_f32(&row, tau, teacher + 2, student + 2, CLASSES - 2), "second piece");
    wrong |= check(densekd_row_state_value(&row, tau, &pushed), "value");
    printf("KL %.8f of two pieces in double\n", pushed);
    wrong |= in_pieces();

    /* int8 as a network stores it, and by tables of exponentials that are made once for a scale. */
    wrong |= check(densekd_row_kl_gradient_i8(&quantized[0], &quantized[1], CLASSES, tau, tau * tau, gradient, &careful), "int8");
    wrong |= check(densekd_exp_table_init(&tables[0], quantized[0].scale, tau), "table");
    wrong |= check(densekd_exp_table_init(&tables[1], quantized[1].scale, tau), "table");
    wrong |= check(densekd_int8_kl(&tables[0], &tables[1], steps[0], steps[1], CLASSES, &by_tables), "tables");
    printf("KL %.8f of int8, %.8f by tables\n", (double)careful, (double)by_tables);
    wrong |= !(fabsf(by_tables - careful) <= 1e-6F * careful) || !(fabsf(careful - value) <= 0.05F * value);

    /* A fixed teacher in flash. */
    wrong |= check(densekd_teacher_read_shape(file, sizeof file, &shape), "shape");
    wrong |= check(densekd_teacher_kl_gradient_f32(file, sizeof file, 0, student, shape.entries, tau * tau, gradient, &from_flash), "flash");
    printf("KL %.8f of row 1 of %u in flash\n", (double)from_flash, (unsigned)shape.rows);
    wrong |= shape.tau != tau || !(fabsf(from_flash - value) <= 1e-6F * value);
    wrong |= densekd_teacher_kl_f32(file, sizeof file, 1, student, CLASSES, &value) != DENSEKD_ROW;
    wrong |= densekd_teacher_kl_f32(file, sizeof file - 1, 0, student, CLASSES, &value) != DENSEKD_TABLE;

    /* What cannot be done is said. */
    wrong |= densekd_row_kl_f32(teacher, student, CLASSES, 0.0F, &value) != DENSEKD_TEMPERATURE;
    wrong |= densekd_row_kl_f32(NULL, student, CLASSES, tau, &value) != DENSEKD_NULL;
    wrong |= densekd_row_kl_gradient_f32(teacher, gradient, CLASSES, tau, 1.0F, gradient, &value) != DENSEKD_OVERLAP;
    wrong |= !(fabs(pushed - (double)value) <= 1e-6 * pushed) || !(fabsf(sum) < 1e-6F);
    return wrong;
}
