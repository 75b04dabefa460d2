//! What the kernels do with memory, counted by the simulated device.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{
    Divergence, HoAdversary, HoOptions, HoRole, KeptStatistics, Loss, MapOptions, Options, Order, Plan,
    Recipe, ResizeMode, RowOptions, Shape, Term,
};
use densekd_cuda::{
    AdaptedHostCall, AdaptedHostLoss, AdaptedHostMap, AdapterPlan, Device, HostCall, MapHostCall,
};
use densekd_device::{Counters, Device as Simulated};

/// Runs a kernel for rows on chip: with one gradient, or with both. How often it reads a row.
fn a_row_is_read(
    device: &Device,
    simulated: &Simulated,
    kernel: &str,
    (dims, options): ([usize; 4], RowOptions),
    [teacher, student]: [fn(usize) -> f32; 2],
) -> u64 {
    let shape = Shape::new(dims).unwrap();
    let plan = Plan::new(Recipe::new(options).unwrap(), shape, Order::Nchw).unwrap();
    let [teacher, student] = [teacher, student].map(|of| (0..shape.len()).map(of).collect::<Vec<f32>>());
    let (mut to_student, mut to_teacher) = (vec![0.0_f32; shape.len()], vec![0.0_f32; shape.len()]);
    let both = kernel.contains("terms");
    let call = HostCall {
        plan: &plan,
        teacher: teacher[..].into(),
        student: student[..].into(),
        mask: None,
        factor: 1.0,
        grad_student: Some((&mut to_student[..]).into()),
        grad_teacher: both.then(|| (&mut to_teacher[..]).into()),
        row_values: None,
        statistics: KeptStatistics::Drop,
    };
    let before = simulated.counters(kernel);
    device.submit(call).unwrap();
    let counted = simulated.counters(kernel);
    let of = |count: fn(&Counters) -> u64| count(&counted) - count(&before);
    let tensor = 4 * shape.len() as u64;
    let written = if both { 2 * tensor } else { tensor };
    let read = of(|c| c.global_read) / (2 * tensor);
    assert_eq!(of(|c| c.launches), 1, "{kernel}");
    assert_eq!(of(|c| c.global_read), 2 * tensor * read, "{kernel}");
    assert_eq!(of(|c| c.global_written), written + 8 * plan.rows() as u64, "{kernel}");
    // Numbers of rows that lie apart go one by one, those of neighbouring threads together.
    let by_16 = if kernel.contains("columns") { 0 } else { (2 * tensor * read + written) / 16 };
    assert_eq!(of(|c| c.wide_accesses), by_16, "{kernel}");
    assert_eq!((counted.bank_conflicts, counted.local_bytes, counted.atomics), (0, 0, 0), "{kernel}");
    assert_eq!(of(|c| c.sectors), of(|c| c.ideal_sectors), "{kernel}");
    read
}

// One test, as there is one device in a process.
#[test]
fn memory_is_read_in_whole_sectors_and_no_more_often_than_said() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let (device, simulated) = (Device::open(0).unwrap(), Simulated::open().unwrap());
    rows_on_chip_are_read_once(&device, &simulated);
    channels_are_read_once_a_pass(&device, &simulated);
    energies_are_read_once_a_pass(&device, &simulated);
    scores_are_read_once(&device, &simulated);
    shares_are_made_of_whole_sectors(&device, &simulated);
    relations_keep_to_registers(&device, &simulated);
    resized_maps_are_written_by_16_bytes(&device, &simulated);
    projected_maps_are_written_in_whole_sectors(&device, &simulated);
}

/// Mimicking of a student behind an adapter, or rows of one, with the gradient to it and to its parameters.
fn run_adapted(device: &Device, loss: Loss, adapter: AdapterPlan) {
    let (from, to) = (adapter.from(), adapter.to());
    let [teacher, student] = [to, from].map(|shape| {
        let number = |i: usize| f32::from(u8::try_from(i * 7 % 251).unwrap()) / 64.0;
        (0..shape.len()).map(number).collect::<Vec<f32>>()
    });
    let term = Term::new(loss.defaults(), to, to, adapter.order()).unwrap();
    let projects = adapter.outputs().is_some();
    let weight = vec![0.25; from.channels() * to.channels()];
    let (mut gradient, mut to_weight) = (vec![0.0_f32; from.len()], weight.clone());
    let loss = match &term {
        Term::Row(plan) => AdaptedHostLoss::Rows { plan, mask: None, factor: 1.0 },
        Term::Map(plan) => AdaptedHostLoss::Map { plan, classes: None, upstream: 1.0 },
    };
    let call = AdaptedHostCall {
        loss,
        teacher: Some(AdaptedHostMap::new(AdapterPlan::new(to, adapter.order()), &teacher[..])),
        student: AdaptedHostMap {
            weight: projects.then_some(&weight),
            gradient: Some((&mut gradient[..]).into()),
            grad_weight: projects.then_some(&mut to_weight),
            ..AdaptedHostMap::new(adapter, &student[..])
        },
    };
    device.submit_adapted(call).unwrap();
}

fn resized_maps_are_written_by_16_bytes(device: &Device, simulated: &Simulated) {
    let mode = ResizeMode::Bilinear { align_corners: false };
    for (order, reads_wide) in [(Order::Nchw, false), (Order::Nhwc, true)] {
        let adapter = AdapterPlan::new(Shape::new([1, 8, 16, 32]).unwrap(), order);
        let adapter = adapter.with_resize(mode, [32, 64]).unwrap();
        // Four of a cell's neighbours each, but at the edges of the map.
        let taps = (64 * 2 - 2) * (32 * 2 - 2) * 8_u64;
        let wide_reads = if reads_wide { taps / 4 } else { 0 };
        for (loss, form, size) in [(Loss::Cwd, "single", 4), (Loss::Mimic, "double", 8)] {
            let kernel = format!("densekd_resize_{form}_f32");
            let before = simulated.counters(&kernel);
            run_adapted(device, loss, adapter);
            let counted = simulated.counters(&kernel);
            let of = |count: fn(&Counters) -> u64| count(&counted) - count(&before);
            let map = size * adapter.to().len() as u64;
            // The teacher of a loss in f64 is converted by the same kernel, by one read and two writes of 16 bytes.
            let teacher = if size == 8 { adapter.to().len() as u64 } else { 0 };
            assert_eq!(of(|c| c.global_written), map + 8 * teacher, "{kernel} {order:?}");
            let wide = (map + 8 * teacher) / 16 + wide_reads + teacher / 4;
            assert_eq!(of(|c| c.wide_accesses), wide, "{kernel} {order:?}");
            assert_eq!((counted.bank_conflicts, counted.local_bytes, counted.atomics), (0, 0, 0), "{kernel}");
        }
        let pulled = simulated.counters("densekd_resize_pull_double_f32");
        assert_eq!(pulled.global_written % (4 * adapter.from().len() as u64), 0, "{order:?}");
        assert_eq!((pulled.local_bytes, pulled.atomics), (0, 0), "{order:?}");
    }
}

fn projected_maps_are_written_in_whole_sectors(device: &Device, simulated: &Simulated) {
    for (order, form) in [(Order::Nchw, "planes"), (Order::Nhwc, "last")] {
        let adapter = AdapterPlan::new(Shape::new([1, 64, 16, 16]).unwrap(), order);
        run_adapted(device, Loss::Mimic, adapter.with_projection(64).unwrap());
        let tensor = 64 * 256;
        let forward = simulated.counters(&format!("densekd_project_{form}_f32"));
        // A tile of each factor for each tile of the product.
        let factors = 256 / 64 * 8 * 64 * 64 + 4 * tensor;
        assert_eq!((forward.global_written, forward.global_read), (8 * tensor, factors), "{form}");
        let pulled = simulated.counters(&format!("densekd_project_pull_{form}_f32"));
        assert_eq!(pulled.global_written, 4 * tensor, "{form}");
        for counted in [forward, pulled] {
            assert_eq!(counted.sectors, counted.ideal_sectors, "{form} {counted:?}");
            assert_eq!((counted.local_bytes, counted.atomics, counted.bank_conflicts), (0, 0, 0), "{form}");
        }
    }
    let weights = simulated.counters("densekd_project_weights_f32");
    assert_eq!((weights.local_bytes, weights.atomics), (0, 0));
}

fn rows_on_chip_are_read_once(device: &Device, simulated: &Simulated) {
    // A student on the way, and one whose logits lie elsewhere, of which each must be looked at more closely.
    fn teacher(i: usize) -> f32 {
        f32::from(u8::try_from(i * 37 % 251).unwrap()) / 64.0
    }
    fn student(i: usize) -> f32 {
        teacher(i) + f32::from(u8::try_from(i * 53 % 97).unwrap()) / 64.0
    }
    fn elsewhere(i: usize) -> f32 {
        teacher(i) + 10.0
    }
    let read = |kernel: &str, dims, options, student| {
        let kernel = format!("densekd_{kernel}_f32");
        a_row_is_read(device, simulated, &kernel, (dims, options), [teacher, student])
    };
    // Longer ones are looked at stretch by stretch, and once more for the gradient.
    for (kernel, dims, looked_at) in [
        ("rows_short", [4, 16, 8, 8], 1),
        ("rows_lanes32", [1, 16, 16, 32], 1),
        ("rows_warp", [1, 16, 32, 32], 1),
        ("rows_block128", [1, 4, 64, 64], 1),
        ("rows_block256", [1, 4, 64, 128], 2),
        ("rows_block512", [1, 4, 128, 128], 2),
        ("rows_deep", [1, 2, 128, 256], 2),
    ] {
        assert_eq!(read(kernel, dims, RowOptions::CWD, student), 1, "{kernel}");
        assert_eq!(read(kernel, dims, RowOptions::CWD, elsewhere), 1 + looked_at, "{kernel}");
    }
    for (kernel, dims) in [("columns_thread", [2, 19, 16, 16]), ("columns_stack", [2, 150, 8, 12])] {
        assert_eq!(read(kernel, dims, RowOptions::PI, student), 1, "{kernel}");
    }
    for (kernel, dims, divergence) in [
        ("terms_rows_lanes8", [4, 16, 8, 8], Divergence::Js),
        ("terms_rows_lanes32", [1, 16, 16, 32], Divergence::Kl),
        ("terms_rows_block", [1, 4, 64, 64], Divergence::ReverseKl),
    ] {
        let options = RowOptions { divergence, ..RowOptions::CWD };
        assert_eq!(read(kernel, dims, options, student), 1, "{kernel}");
    }
}

/// Runs a map loss for value and both gradients.
fn run(device: &Device, options: Options, order: Order, dims: [usize; 4]) {
    let shape = Shape::new(dims).unwrap();
    let Term::Map(plan) = Term::new(options, shape, shape, order).unwrap() else { unreachable!() };
    let number = |step: usize| move |i: usize| f32::from(u8::try_from(i * step % 251).unwrap());
    let teacher: Vec<f32> = (0..shape.len()).map(number(7)).collect();
    let student: Vec<f32> = (0..shape.len()).map(number(11)).collect();
    let (mut to_student, mut to_teacher) = (vec![0.0_f32; shape.len()], vec![0.0_f32; shape.len()]);
    let classes: Vec<i32> = (0..shape.images() * shape.positions()).map(|i| i32::from(i % 3 > 0)).collect();
    let call = MapHostCall {
        plan: &plan,
        teacher: Some(teacher[..].into()),
        student: student[..].into(),
        classes: plan.takes_labels().then_some(&classes[..]),
        upstream: 1.0,
        grad_student: Some((&mut to_student[..]).into()),
        grad_teacher: Some((&mut to_teacher[..]).into()),
    };
    device.submit_map(call).unwrap();
}

/// Bytes of the whole sectors that were touched, against what the maps themselves have: a little is read beside them.
fn is_little_more(sectors: u64, bytes: u64) -> bool {
    (bytes..bytes + bytes / 8).contains(&(32 * sectors))
}

fn channels_are_read_once_a_pass(device: &Device, simulated: &Simulated) {
    let dims = [2, 2, 64, 64];
    let tensor = 4 * dims.iter().product::<usize>() as u64;
    run(device, Loss::Pkd.defaults(), Order::Nchw, dims);
    for pass in ["moments", "compare"] {
        let counted = simulated.counters(&format!("densekd_lines_{pass}_f32"));
        assert!(is_little_more(counted.sectors, 2 * tensor), "{pass} {counted:?}");
        assert_eq!(counted.wide_accesses, 2 * tensor / 16, "{pass}");
        assert_eq!((counted.local_bytes, counted.atomics), (0, 0), "{pass}");
    }
    let pulled = simulated.counters("densekd_lines_pull_f32");
    assert!(is_little_more(pulled.sectors, 6 * tensor), "{pulled:?}");
    assert_eq!((pulled.global_written, pulled.wide_accesses), (2 * tensor, 6 * tensor / 16));
    assert_eq!((pulled.local_bytes, pulled.atomics), (0, 0));
}

fn energies_are_read_once_a_pass(device: &Device, simulated: &Simulated) {
    let dims = [1, 64, 32, 32];
    let (tensor, energies) = (4 * dims.iter().product::<usize>() as u64, 8 * 32 * 32);
    for (order, form) in [(Order::Nchw, "planes"), (Order::Nhwc, "last")] {
        run(device, Loss::At.defaults(), order, dims);
        let measured = simulated.counters(&format!("densekd_energy_{form}_f32"));
        // Teacher and student.
        assert_eq!((measured.global_read, measured.global_written), (2 * tensor, 2 * energies), "{form}");
        assert_eq!((measured.wide_accesses, measured.atomics), (2 * tensor / 16, 0), "{form}");
        assert_eq!((measured.bank_conflicts, measured.local_bytes), (0, 0), "{form}");
        let pulled = simulated.counters(&format!("densekd_energy_pull_{form}_f32"));
        assert_eq!((pulled.global_written, pulled.wide_accesses), (2 * tensor, 4 * tensor / 16), "{form}");
        // The slopes of positions are read once for 8 channels of each warp.
        assert!(32 * pulled.sectors <= 4 * tensor * 3 / 2, "{form} {pulled:?}");
        assert_eq!((pulled.local_bytes, pulled.atomics), (0, 0), "{form}");
    }
}

fn scores_are_read_once(device: &Device, simulated: &Simulated) {
    let dims = [2, 2, 64, 64];
    let tensor = 4 * dims.iter().product::<usize>() as u64;
    let hinge =
        HoOptions { role: HoRole::Discriminator, adversary: HoAdversary::Hinge, ..HoOptions::DEFAULT };
    run(device, Options::Map(MapOptions::Ho(hinge)), Order::Nchw, dims);
    // Teacher and student.
    let measured = simulated.counters("densekd_ho_sums_f32");
    assert_eq!((measured.global_read, measured.wide_accesses), (2 * tensor, 2 * tensor / 16));
    assert_eq!((measured.bank_conflicts, measured.local_bytes, measured.atomics), (0, 0, 0));
    let pulled = simulated.counters("densekd_ho_pull_f32");
    assert_eq!((pulled.global_read, pulled.global_written), (2 * tensor, 2 * tensor));
    assert_eq!((pulled.wide_accesses, pulled.sectors), (4 * tensor / 16, 4 * tensor / 32));
}

fn shares_are_made_of_whole_sectors(device: &Device, simulated: &Simulated) {
    let dims = [1, 19, 32, 64];
    let (tensor, positions) = (4 * dims.iter().product::<usize>() as u64, 32 * 64);
    for (order, form) in [(Order::Nchw, "planes"), (Order::Nhwc, "last")] {
        run(device, Loss::Dist.defaults(), order, dims);
        // Both maps: for the largest, for the sums, for the shares; a value and 7 numbers a position.
        let rows = simulated.counters(&format!("densekd_dist_rows_{form}_f32"));
        assert_eq!((rows.global_read, rows.global_written), (6 * tensor, 8 * 8 * positions), "{form}");
        let pulled = simulated.counters(&format!("densekd_dist_pull_{form}_f32"));
        assert_eq!(pulled.global_written, 2 * tensor, "{form}");
        if order == Order::Nchw {
            assert_eq!((rows.sectors, pulled.sectors), (rows.ideal_sectors, pulled.ideal_sectors));
        }
    }
}

fn relations_keep_to_registers(device: &Device, simulated: &Simulated) {
    for order in [Order::Nchw, Order::Nhwc] {
        for loss in [Loss::Dist, Loss::La, Loss::Pa, Loss::Ifvd] {
            run(device, loss.defaults(), order, [2, 35, 6, 10]);
        }
    }
    let typed = [
        "dist_rows_planes",
        "dist_rows_last",
        "dist_columns_planes",
        "dist_columns_last",
        "dist_pull_planes",
        "dist_pull_last",
        "la_edges_planes",
        "la_edges_last",
        "la_pull_planes",
        "la_pull_last",
        "pa_pool_thread",
        "pa_spread_planes",
        "pa_spread_last",
        "ifvd_sums_planes",
        "ifvd_sums_last",
        "ifvd_cosines_planes",
        "ifvd_cosines_last",
        "ifvd_pull_planes",
        "ifvd_pull_last",
    ];
    let all = [
        "dist_close",
        "la_compare",
        "pa_scale",
        "pa_apart",
        "pa_slopes",
        "pa_turn",
        "ifvd_count",
        "ifvd_along",
    ];
    let typed = typed.into_iter().map(|name| format!("densekd_{name}_f32"));
    for kernel in typed.chain(all.into_iter().map(|name| format!("densekd_{name}"))) {
        let counted = simulated.counters(&kernel);
        assert!(counted.launches > 0, "{kernel}");
        assert_eq!((counted.bank_conflicts, counted.local_bytes, counted.atomics), (0, 0, 0), "{kernel}");
    }
}
