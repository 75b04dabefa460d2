//! Every entry of the core that a runtime would link, behind C functions. The panic handler calls a function
//! that nobody defines, so the library links only if no panic can be reached.
#![no_std]

use densekd_core::{
    Call, InPlace, Inputs, KeptStatistics, Mask, Order, Outputs, Partial, Plan, PreparedTeacher, Recipe,
    RowOptions, RowState, RowStatistics, Shape, Sink, Slab, Temperature, Upstream, run,
};

unsafe extern "C" {
    fn densekd_must_not_panic() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never called: linking fails if it could be.
    unsafe { densekd_must_not_panic() }
}

/// What the caller hands over; lengths are taken as they are and checked by the core.
#[repr(C)]
pub struct Request {
    shape: [usize; 4],
    channels_last: bool,
    options: u32,
    tau: f64,
    teacher: *const f32,
    student: *const f32,
    gradient: *mut f32,
    len: usize,
    mask: *const u8,
    mask_len: usize,
    statistics: *mut RowStatistics,
    rows: usize,
    table: *mut f32,
}

/// A recipe for every value of `options`.
fn recipe(request: &Request) -> Result<Recipe, densekd_core::Error> {
    use densekd_core::{Divergence, Divisor, Epsilon, Ignore, Norm};
    fn pick<T: Copy>(all: &[T], at: u32) -> Option<T> {
        all.get(at as usize & 7).copied()
    }
    let o = request.options;
    let base = if o & 1 == 0 { RowOptions::CWD } else { RowOptions::PI };
    Recipe::new(RowOptions {
        tau: Temperature::new(request.tau)?,
        norm: pick(Norm::ALL, o >> 1).unwrap_or(base.norm),
        divergence: pick(Divergence::ALL, o >> 4).unwrap_or(base.divergence),
        divisor: pick(Divisor::ALL, o >> 7).unwrap_or(base.divisor),
        ignore: pick(Ignore::ALL, o >> 10).unwrap_or(base.ignore),
        eps: Epsilon::new(if o >> 13 & 1 == 0 { 0.0 } else { 1e-5 })?,
        upsample: if o >> 14 & 1 == 0 { base.upsample } else { base.upsample.saturating_add(1) },
        ..base
    })
}

/// Loss and gradient in one call, in two calls, job by job, and from a prepared teacher.
///
/// # Safety
/// The pointers are valid for their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_entry(request: &Request, value: &mut f64) -> i32 {
    // SAFETY: the caller's promise.
    let (teacher, student, gradient, mask, statistics, table) = unsafe {
        (
            core::slice::from_raw_parts(request.teacher, request.len),
            core::slice::from_raw_parts(request.student, request.len),
            core::slice::from_raw_parts_mut(request.gradient, request.len),
            core::slice::from_raw_parts(request.mask, request.mask_len),
            core::slice::from_raw_parts_mut(request.statistics, request.rows),
            core::slice::from_raw_parts_mut(request.table, request.len),
        )
    };
    let all = || -> Result<f64, densekd_core::Error> {
        let order = if request.channels_last { Order::Nhwc } else { Order::Nchw };
        let shape = Shape::new(request.shape)?;
        let plan = Plan::new(recipe(request)?, shape, order)?;
        let mask = Mask::new(shape, None, Some(mask))?;
        let inputs = Inputs::new(&plan, teacher, student, mask)?;
        let mut sum = 0.0;
        let kept = KeptStatistics::Write(&mut *statistics);
        sum += run(&inputs, Upstream::ONE, Outputs { statistics: kept, ..Outputs::default() })?.value();
        let sink: &mut dyn Sink = &mut Slab::new(&mut *gradient, 0);
        let kept = KeptStatistics::Read(&*statistics);
        let outputs = Outputs { grad_student: Some(sink), statistics: kept, ..Outputs::default() };
        sum += run(&inputs, Upstream::ONE, outputs)?.value();
        let call = Call::new(inputs, Upstream::ONE);
        let mut total = Partial::default();
        for job in plan.jobs() {
            total.add(call.run(job, Outputs::default())?);
        }
        sum += call.outcome(total).value();
        if let Ok(loss) = InPlace::<f32>::new(&plan, teacher, mask, Upstream::ONE) {
            sum += loss.run_all(&mut *gradient, &mut *table, Outputs::default())?.value();
        }
        let prepared = PreparedTeacher::prepare(&plan, teacher, mask, table)?;
        let sink: &mut dyn Sink = &mut Slab::new(gradient, 0);
        let outputs = Outputs { grad_teacher: Some(sink), ..Outputs::default() };
        sum += run(&prepared.inputs(&plan, student, mask)?, Upstream::ONE, outputs)?.value();
        let (tau, mut state, mut other) = (Temperature::new(request.tau)?, RowState::new(), RowState::new());
        state.push(tau, teacher, student);
        other.push(tau, student, teacher);
        state.merge(tau, &other);
        Ok(sum + state.finish(tau).kl_divergence())
    };
    // What the gate must catch: an index that nobody checked.
    #[cfg(feature = "broken")]
    let teacher_is_indexed = teacher[request.options as usize] > 0.0;
    #[cfg(feature = "broken")]
    if teacher_is_indexed {
        return 2;
    }
    match all() {
        Ok(sum) => {
            *value = sum;
            0
        }
        Err(_) => 1,
    }
}

/// A prepared teacher's rows, with the losses of microcontrollers.
///
/// # Safety
/// The pointers are valid for their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_table(request: &Request, table: *const u8, table_len: usize) -> f32 {
    use densekd_core::single::{Polynomial, RowKl, TeacherTable};
    // SAFETY: the caller's promise.
    let (student, gradient, bytes) = unsafe {
        (
            core::slice::from_raw_parts(request.student, request.len),
            core::slice::from_raw_parts_mut(request.gradient, request.len),
            core::slice::from_raw_parts(table, table_len),
        )
    };
    let mut all = || {
        let table = TeacherTable::new(bytes).ok()?;
        let loss = RowKl::<Polynomial>::new(table.tau())?;
        let row = table.row(request.rows)?;
        Some(loss.value(&row, student) + loss.gradient(&row, student, 1.0, gradient))
    };
    all().unwrap_or(f32::NAN)
}

/// A plane resized and its gradient pulled back, an image's channels mapped and theirs pulled back.
///
/// # Safety
/// The pointers are valid for their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_adapters(request: &Request, out: *mut f64, out_len: usize) -> i32 {
    use densekd_core::{Alone, Conv1x1, Resize, ResizeMode};
    // SAFETY: the caller's promise.
    let (input, out) = unsafe {
        (
            core::slice::from_raw_parts(request.teacher.cast::<f64>(), request.len / 2),
            core::slice::from_raw_parts_mut(out, out_len),
        )
    };
    let mut all = || -> Result<(), densekd_core::Error> {
        let [a, b, c, d] = request.shape;
        let mode = match request.options & 3 {
            0 => ResizeMode::Nearest,
            1 => ResizeMode::Area,
            corners => ResizeMode::Bilinear { align_corners: corners == 2 },
        };
        let resize = Resize::new(mode, [a, b], [c, d])?;
        resize.forward(input, out)?;
        resize.pull(input, out)?;
        let conv = Conv1x1::new(input, Some(input), a, b)?;
        conv.forward(input, out, &Alone)?;
        conv.pull(input, out, &Alone)?;
        let (weight, bias) = out.split_at_mut_checked(a.saturating_mul(b)).unwrap_or_default();
        conv.pull_parameters(input, input, (weight, bias), &Alone)
    };
    i32::from(all().is_err())
}

/// Any loss of whole maps, by its number, with every gradient that it has.
///
/// # Safety
/// The pointers are valid for their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_maps(
    request: &Request,
    state: *mut f64,
    state_len: usize,
    labels: *const i64,
    labels_len: usize,
) -> i32 {
    use densekd_core::{Alone, Labels, Loss, MapCall, MapInputs, Projection, Side, Term, run_map};
    // SAFETY: the caller's promise.
    let (teacher, student, gradient, mask, state, labels) = unsafe {
        (
            core::slice::from_raw_parts(request.teacher, request.len),
            core::slice::from_raw_parts(request.student, request.len),
            core::slice::from_raw_parts_mut(request.gradient, request.len),
            core::slice::from_raw_parts(request.mask, request.mask_len),
            core::slice::from_raw_parts_mut(state, state_len),
            core::slice::from_raw_parts(labels, labels_len),
        )
    };
    let mut all = || -> Result<(), densekd_core::Error> {
        let loss = Loss::ALL.get(request.options as usize).copied().unwrap_or(Loss::At);
        let order = if request.channels_last { Order::Nhwc } else { Order::Nchw };
        let shape = Shape::new(request.shape)?;
        let Term::Map(plan) = Term::new(loss.defaults(), shape, shape, order)? else { return Ok(()) };
        let [n, _, h, w] = request.shape;
        let mut inputs = MapInputs::new(&plan, plan.takes_teacher().then(|| teacher.into()), student)?;
        if plan.takes_labels() {
            inputs = inputs.with_labels(Labels::new(labels, n, h, w)?)?.with_mask(Mask::new(
                shape,
                None,
                Some(mask),
            )?)?;
        }
        let (kept, rest) = state.split_at_mut_checked(plan.scratch()).unwrap_or_default();
        let (grad_weight, grad_bias) = rest.split_at_mut_checked(shape.channels()).unwrap_or_default();
        if plan.takes_projection() {
            inputs = inputs.with_projection(Projection::default())?;
        }
        let mut sink = Slab::new(gradient, 0);
        let outcome = run_map(inputs, Upstream::ONE, kept, Some(&mut sink), None)?;
        let call = MapCall::new(inputs)?;
        for band in plan.bands(Side::Teacher) {
            call.pull((&outcome, Upstream::ONE), kept, Side::Teacher, band, &mut sink)?;
        }
        call.pull_projection((&outcome, Upstream::ONE), kept, (grad_weight, grad_bias), &Alone)
    };
    i32::from(all().is_err())
}
