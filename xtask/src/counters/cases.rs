//! What is counted: each strategy, by the length of its rows.

use anyhow::Result;
use densekd_core::{
    DType, Divergence, KeptStatistics, Loss, Order, Plan, Recipe, ResizeMode, RowOptions, Shape, Tensor,
    TensorMut, Term,
};
use densekd_cuda::{
    AdaptedHostCall, AdaptedHostLoss, AdaptedHostMap, AdapterPlan, Device, HostCall, MapHostCall,
};
use half::{bf16, f16};

/// A loss.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Rows(RowOptions),
    Map(Loss),
}

/// A loss on a pair of maps.
#[derive(Clone, Copy)]
pub(super) struct Case {
    /// What it stands under in the table.
    pub(super) name: &'static str,
    pub(super) of: Of,
    pub(super) order: Order,
    /// Of the teacher, and of the student as the loss has it.
    pub(super) dims: [usize; 4],
    /// Of the student as it is stored.
    pub(super) student: [usize; 4],
    pub(super) dtype: DType,
    /// The gradient to the student, with the value.
    pub(super) pulls: bool,
}

/// Maps whose channels are rows of 64, 512, 1024, 4096, 8192 and 16,384 entries.
const LENGTHS: [[usize; 4]; 6] =
    [[8, 8, 8, 8], [2, 8, 16, 32], [1, 8, 32, 32], [1, 4, 64, 64], [1, 2, 64, 128], [1, 2, 128, 128]];

/// Rows of which there are kernels for two generations of devices.
pub(super) fn of_halves() -> impl Iterator<Item = Case> {
    let of = Of::Rows(RowOptions::CWD);
    LENGTHS.into_iter().flat_map(move |dims| {
        [DType::F16, DType::Bf16].map(|dtype| Case {
            name: "cwd",
            of,
            order: Order::Nchw,
            dims,
            student: dims,
            dtype,
            pulls: true,
        })
    })
}

/// All cases: rows of KL divergence by length, then a form of every other family.
pub(super) fn all() -> Vec<Case> {
    let (nchw, nhwc) = (Order::Nchw, Order::Nhwc);
    let js = RowOptions { divergence: Divergence::Js, ..RowOptions::CWD };
    let long = [[1, 1, 128, 256], [1, 1, 256, 256], [1, 1, 512, 1024]];
    let mut shapes: Vec<(&str, Of, Order, [[usize; 4]; 2])> = Vec::new();
    for dims in LENGTHS.into_iter().chain(long) {
        shapes.push(("cwd", Of::Rows(RowOptions::CWD), nchw, [dims; 2]));
    }
    let alike = [
        ("pi", Of::Rows(RowOptions::PI), nchw, [1, 19, 64, 64]),
        ("pi", Of::Rows(RowOptions::PI), nchw, [1, 150, 32, 32]),
        ("cwd, channels last", Of::Rows(RowOptions::CWD), nhwc, [1, 256, 64, 64]),
        ("cwd of js", Of::Rows(js), nchw, [1, 4, 64, 64]),
        ("pkd", Of::Map(Loss::Pkd), nchw, [2, 4, 64, 64]),
        ("pkd, channels last", Of::Map(Loss::Pkd), nhwc, [2, 64, 32, 32]),
        ("at", Of::Map(Loss::At), nchw, [2, 64, 32, 32]),
        ("dkd", Of::Map(Loss::Dkd), nchw, [2, 19, 32, 32]),
        ("smooth_ce", Of::Map(Loss::SmoothCe), nchw, [2, 19, 32, 32]),
    ];
    shapes.extend(alike.map(|(name, of, order, dims)| (name, of, order, [dims; 2])));
    let mimic = Of::Map(Loss::Mimic);
    shapes.extend([
        ("cwd, enlarged", Of::Rows(RowOptions::CWD), nchw, [[2, 8, 64, 64], [2, 8, 32, 32]]),
        ("mimic, enlarged, channels last", mimic, nhwc, [[2, 32, 32, 32], [2, 32, 16, 16]]),
        ("mimic, projected", mimic, nchw, [[2, 64, 16, 16], [2, 32, 16, 16]]),
    ]);
    let mut cases = Vec::new();
    for (name, of, order, [dims, student]) in shapes {
        for dtype in [DType::F32, DType::F16] {
            for pulls in [false, true] {
                cases.push(Case { name, of, order, dims, student, dtype, pulls });
            }
        }
    }
    cases
}

impl Case {
    /// Entries that belong together: positions of a channel, or channels of a position.
    pub(super) fn length(&self) -> usize {
        let [_, channels, height, width] = self.dims;
        let of_position = match self.of {
            Of::Rows(options) => options.norm == RowOptions::PI.norm,
            Of::Map(loss) => matches!(loss, Loss::Dkd | Loss::SmoothCe),
        };
        if of_position { channels } else { height * width }
    }

    /// Bytes an element that there must be: each input once, the gradient once.
    pub(super) fn ideal(&self) -> f64 {
        let teachers = usize::from(!matches!(self.of, Of::Map(Loss::SmoothCe)));
        let numbers = |dims: [usize; 4]| dims.into_iter().product::<usize>();
        let students = numbers(self.student) * (1 + usize::from(self.pulls));
        #[allow(clippy::cast_precision_loss, reason = "tensors of a test")]
        let each = |count: usize| (count * self.dtype.size()) as f64 / numbers(self.dims) as f64;
        each(teachers * numbers(self.dims) + students)
    }

    /// What a count comes to for an element of the map that the loss has.
    #[allow(clippy::cast_precision_loss, reason = "counts of a test")]
    pub(super) fn each(&self, count: u64) -> f64 {
        count as f64 / self.dims.iter().product::<usize>() as f64
    }

    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let [teacher, student] = [self.dims, self.student].map(|dims| dims.iter().product());
        match self.dtype {
            DType::F16 => self.run_on::<f16>(device, &numbers(teacher, 1), &numbers(student, 2)),
            DType::Bf16 => self.run_on::<bf16>(device, &numbers(teacher, 1), &numbers(student, 2)),
            _ => self.run_on::<f32>(device, &numbers(teacher, 1), &numbers(student, 2)),
        }
    }

    /// What the student is put through: to the teacher's channels, or to its height and width.
    fn adapter(&self) -> Result<AdapterPlan> {
        let [[_, channels, height, width], [_, inputs, ..]] = [self.dims, self.student];
        let plan = AdapterPlan::new(Shape::new(self.student)?, self.order);
        if channels != inputs {
            return Ok(plan.with_projection(channels)?);
        }
        Ok(plan.with_resize(ResizeMode::Bilinear { align_corners: false }, [height, width])?)
    }

    /// A loss on an adapted student, with the gradients to the parameters, too.
    fn run_adapted(
        &self,
        device: &Device,
        loss: AdaptedHostLoss<'_>,
        [teacher, student]: [Tensor<'_>; 2],
        gradient: Option<TensorMut<'_>>,
    ) -> Result<()> {
        let adapter = self.adapter()?;
        let (inputs, outputs) = (adapter.from().channels(), adapter.to().channels());
        let (weight, mut grad_weight) = (numbers(inputs * outputs, 3), vec![0.0; inputs * outputs]);
        let projects = adapter.outputs().is_some();
        device.submit_adapted(AdaptedHostCall {
            loss,
            teacher: Some(AdaptedHostMap::new(AdapterPlan::new(adapter.to(), self.order), teacher)),
            student: AdaptedHostMap {
                weight: projects.then_some(&weight),
                gradient,
                grad_weight: (projects && self.pulls).then_some(&mut grad_weight),
                ..AdaptedHostMap::new(adapter, student)
            },
        })?;
        Ok(())
    }

    fn run_on<E: densekd_core::Element>(&self, device: &Device, teacher: &[E], student: &[E]) -> Result<()>
    where
        for<'a> Tensor<'a>: From<&'a [E]>,
        for<'a> TensorMut<'a>: From<&'a mut [E]>,
    {
        let shape = Shape::new(self.dims)?;
        let mut gradient = vec![E::default(); student.len()];
        let grad_student = self.pulls.then(|| (&mut gradient[..]).into());
        let adapts = self.student != self.dims;
        match self.of {
            Of::Rows(options) if adapts => {
                let plan = Plan::new(Recipe::new(options)?, shape, self.order)?;
                let loss = AdaptedHostLoss::Rows { plan: &plan, mask: None, factor: 1.0 };
                self.run_adapted(device, loss, [teacher.into(), student.into()], grad_student)?;
            }
            Of::Rows(options) => {
                device.submit(HostCall {
                    plan: &Plan::new(Recipe::new(options)?, shape, self.order)?,
                    teacher: teacher.into(),
                    student: student.into(),
                    mask: None,
                    factor: 1.0,
                    grad_student,
                    grad_teacher: None,
                    row_values: None,
                    statistics: KeptStatistics::Drop,
                })?;
            }
            Of::Map(loss) => {
                let Term::Map(plan) = Term::new(loss.defaults(), shape, shape, self.order)? else {
                    anyhow::bail!("{} is no map loss", self.name)
                };
                if adapts {
                    let loss = AdaptedHostLoss::Map { plan: &plan, classes: None, upstream: 1.0 };
                    return self.run_adapted(device, loss, [teacher.into(), student.into()], grad_student);
                }
                let channels = i32::try_from(shape.channels())?;
                let classes: Vec<i32> =
                    (0..channels).cycle().take(shape.images() * shape.positions()).collect();
                device.submit_map(MapHostCall {
                    plan: &plan,
                    teacher: plan.takes_teacher().then(|| teacher.into()),
                    student: student.into(),
                    classes: plan.takes_labels().then_some(&classes),
                    upstream: 1.0,
                    grad_student,
                    grad_teacher: None,
                })?;
            }
        }
        Ok(())
    }
}

/// Logits about a common base, as those of a student who has learnt something.
fn numbers<E: densekd_core::Element>(count: usize, seed: u64) -> Vec<E> {
    let (mut base, mut own) = (fastrand::Rng::with_seed(7), fastrand::Rng::with_seed(seed));
    (0..count).map(|_| E::narrow(8.0 * base.f32() - 4.0 + own.f32())).collect()
}
