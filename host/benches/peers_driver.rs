//! Times densekd for a program that alternates it with peers (`benches/peers`): both arrays are loaded
//! once, each command is answered with the seconds a call takes inside this process.
//!
//! `peers_driver LOSS TAU TEACHER.npy STUDENT.npy`, a row loss, then one JSON command a line:
//!
//! | command | answer |
//! | --- | --- |
//! | `{"op": "loss", "threads": 2, "repeat": 3}` | `{"value": v, "seconds": [a, b, c]}` |
//! | `{"op": "loss_grad", "threads": 2, "repeat": 3}` | the same, with the gradient to the student |
//! | `{"op": "save_grad", "to": "g.npy"}` | `{}`; the gradient of the last `loss_grad` |

use densekd::core::{Loss, Order, Plan, Recipe, RowOptions, Shape, Temperature};
use densekd::io::{self, Array, TensorPath};
use densekd::{Backend, Cpu, Submission};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

/// One line of input.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Command {
    Loss { threads: NonZeroUsize, repeat: usize },
    LossGrad { threads: NonZeroUsize, repeat: usize },
    SaveGrad { to: PathBuf },
}

/// One line of output.
#[derive(Serialize)]
struct Timing {
    value: f64,
    seconds: Vec<f64>,
}

/// What lives as long as the process: inputs, the gradient's buffer, a pool for each number of threads.
struct Driver {
    plan: Plan,
    teacher: Vec<f32>,
    student: Vec<f32>,
    gradient: Vec<f32>,
    pools: HashMap<NonZeroUsize, Cpu>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [loss, tau, teacher, student] = arguments.as_slice() else {
        // `cargo bench` and `cargo test` start every benchmark, this one without its files.
        eprintln!("usage: peers_driver LOSS TAU TEACHER.npy STUDENT.npy (see benches/peers)");
        return Ok(());
    };
    let mut driver = Driver::new(loss.parse()?, tau.parse()?, teacher, student)?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", driver.answer(serde_json::from_str(&line?)?)?)?;
        out.flush()?;
    }
    Ok(())
}

impl Driver {
    fn new(loss: Loss, tau: f64, teacher: &str, student: &str) -> Result<Self, Box<dyn Error>> {
        let [teacher, student] = [teacher, student].map(|path| io::read(&TensorPath::parse(path)?));
        let (teacher, student) = (teacher?, student?);
        let defaults = loss.defaults();
        let row = defaults.row().ok_or("the loss must be cwd or pi")?;
        let options = RowOptions { tau: Temperature::new(tau)?, ..*row };
        let shape = Shape::new(<[usize; 4]>::try_from(teacher.shape())?)?;
        Ok(Self {
            plan: Plan::new(Recipe::new(options)?, shape, Order::Nchw)?,
            // Copied out of the mapped file: peers read ordinary memory too.
            teacher: numbers(&teacher)?,
            student: numbers(&student)?,
            gradient: vec![0.0; teacher.len()],
            pools: HashMap::new(),
        })
    }

    fn answer(&mut self, command: Command) -> Result<String, Box<dyn Error>> {
        let timing = match command {
            Command::Loss { threads, repeat } => self.time(threads, repeat, false)?,
            Command::LossGrad { threads, repeat } => self.time(threads, repeat, true)?,
            Command::SaveGrad { to } => {
                io::write_npy(to, &Array::new(self.plan.shape().dims(), self.gradient.clone())?)?;
                return Ok("{}".to_owned());
            }
        };
        Ok(serde_json::to_string(&timing)?)
    }

    fn time(&mut self, threads: NonZeroUsize, repeat: usize, grad: bool) -> Result<Timing, Box<dyn Error>> {
        let Self { plan, teacher, student, gradient, pools } = self;
        let cpu = match pools.entry(threads) {
            std::collections::hash_map::Entry::Occupied(pool) => pool.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(Cpu::with_threads(threads)?),
        };
        let mut timing = Timing { value: f64::NAN, seconds: Vec::with_capacity(repeat) };
        for _ in 0..repeat {
            let start = Instant::now();
            let grad_student = grad.then(|| gradient.as_mut_slice().into());
            let submission = Submission { grad_student, ..Submission::new(plan, &teacher[..], &student[..]) };
            timing.value = cpu.submit(submission)?.value();
            timing.seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(timing)
    }
}

fn numbers(array: &Array) -> Result<Vec<f32>, Box<dyn Error>> {
    array.as_slice::<f32>().map(<[f32]>::to_vec).ok_or_else(|| "the arrays must be float32".into())
}
