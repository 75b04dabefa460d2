/* A row's loss and gradient, at once and in pieces. */
#include <math.h>
#include <stdio.h>

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
    printf("KL %.8f in pieces\n", pushed);

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
