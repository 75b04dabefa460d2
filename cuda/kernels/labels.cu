// Labels in device memory as the classes that the other kernels take: an i32 a position of the map, that of the nearest
// label, -1 where the position is left out or the label is no class.
#include "task.h"

// The same bytes as `LabelsTask` in src/labels.rs.
struct LabelsTask {
    const long long *labels; // [images, label_height, label_width]
    const u8 *mask;          // a byte a position of the map, 0 = left out, or null
    int *classes;
    u64 images, height, width;
    u64 label_height, label_width;
    u64 count;               // of classes
    long long ignored;
};

KERNEL(THREADS) void densekd_labels(LabelsTask task) {
    const u64 all = task.images * task.height * task.width, step = block_count() * (u64)THREADS;
    for (u64 i = block_index() * (u64)THREADS + thread_index(); i < all; i += step) {
        const u64 x = i % task.width * task.label_width / task.width, line = i / task.width;
        const u64 y = line % task.height * task.label_height / task.height, image = line / task.height;
        const long long label = task.labels[(image * task.label_height + y) * task.label_width + x];
        const bool counts = label != task.ignored && (!task.mask || task.mask[i]);
        task.classes[i] = counts && (u64)label < task.count ? (int)label : -1;
    }
}
