//! A linear layer, and a step down its gradient.

/// Channels of the student's features.
pub const FEATURES: usize = 24;
/// Water, forest, shrubland, savanna, grassland, cropland, barren.
pub const CLASSES: usize = 7;

/// Weights and a bias for each class.
pub struct Head {
    weights: [[f32; FEATURES]; CLASSES],
    biases: [f32; CLASSES],
}

impl Head {
    /// One that knows nothing.
    pub const fn new() -> Self {
        Self { weights: [[0.0; FEATURES]; CLASSES], biases: [0.0; CLASSES] }
    }

    /// A position's logits.
    pub fn logits(&self, input: &[f32; FEATURES]) -> [f32; CLASSES] {
        let mut logits = self.biases;
        for (logit, weights) in logits.iter_mut().zip(&self.weights) {
            for (w, x) in weights.iter().zip(input) {
                *logit += w * x;
            }
        }
        logits
    }

    /// A step of gradient descent, given the gradient to the logits.
    pub fn descend(&mut self, input: &[f32; FEATURES], gradient: &[f32; CLASSES], rate: f32) {
        for ((weights, bias), g) in self.weights.iter_mut().zip(&mut self.biases).zip(gradient) {
            let step = rate * g;
            for (w, x) in weights.iter_mut().zip(input) {
                *w -= step * x;
            }
            *bias -= step;
        }
    }
}
