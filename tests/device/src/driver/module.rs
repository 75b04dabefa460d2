//! Modules and the functions in them.
use super::code::{self, Answer};
use super::{Driver, Handle};
use crate::ptx::{Kernel, Module, Variable};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) context: Handle,
    module: Module,
    /// Address and size of each variable.
    variables: HashMap<String, (u64, u64)>,
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) module: Handle,
    pub(super) kernel: Arc<Kernel>,
    /// Most dynamic shared memory of a launch.
    pub(super) dynamic_shared: u32,
}

/// Shared memory of a block without consent.
pub(super) const SHARED_BY_DEFAULT: u32 = 48 << 10;

impl Driver {
    /// The text of why a module was refused is in the report.
    pub(crate) fn module_load(&mut self, text: &str) -> Answer<Handle> {
        let context = self.current()?;
        let mut variables = HashMap::new();
        let memory = &mut self.memory;
        let text = self.replaced.get(text).map_or(text, String::as_str);
        let parsed = Module::parse(text, &mut |v: &Variable| {
            let base = memory.allocate(v.value.len() as u64)?;
            memory.copy_in(base, &v.value);
            variables.insert(v.name.clone(), (base, v.value.len() as u64));
            base.is_multiple_of(v.align).then_some(base)
        });
        let refused = match &parsed {
            Err(error) => Some((code::INVALID_PTX, error.to_string())),
            Ok(m) if m.version > self.settings.newest_ptx() => {
                let (major, minor) = m.version;
                Some((code::UNSUPPORTED_PTX_VERSION, format!("PTX {major}.{minor} is newer than the driver")))
            }
            Ok(m) if m.target > self.settings.capability => {
                Some((code::INVALID_PTX, format!("sm_{} is more than the device has", m.target)))
            }
            Ok(_) => None,
        };
        let (Ok(module), None) = (parsed, &refused) else {
            for (base, _) in variables.values() {
                self.memory.free(*base);
            }
            let (code, why) = refused.unwrap_or((code::INVALID_PTX, String::new()));
            self.say(why);
            return Err(code);
        };
        self.owners.extend(variables.values().map(|(base, _)| (*base, context)));
        let handle = self.handle();
        self.modules.insert(handle, Loaded { context, module, variables });
        Ok(handle)
    }

    pub(crate) fn module_unload(&mut self, module: Handle) -> Answer<()> {
        self.current()?;
        let gone = self.modules.remove(&module).ok_or(code::INVALID_HANDLE)?;
        for (base, _) in gone.variables.values() {
            self.owners.remove(base);
            self.memory.free(*base);
        }
        self.functions.retain(|_, f| f.module != module);
        Ok(())
    }

    pub(crate) fn module_function(&mut self, module: Handle, name: &str) -> Answer<Handle> {
        self.current()?;
        let loaded = self.modules.get(&module).ok_or(code::INVALID_HANDLE)?;
        let kernel = Arc::clone(loaded.module.kernels.get(name).ok_or(code::NOT_FOUND)?);
        let dynamic_shared = SHARED_BY_DEFAULT.saturating_sub(kernel.shared);
        let handle = self.handle();
        self.functions.insert(handle, Function { module, kernel, dynamic_shared });
        Ok(handle)
    }

    pub(crate) fn module_global(&self, module: Handle, name: &str) -> Answer<(u64, u64)> {
        self.current()?;
        let loaded = self.modules.get(&module).ok_or(code::INVALID_HANDLE)?;
        loaded.variables.get(name).copied().ok_or(code::NOT_FOUND)
    }

    /// `CUfunction_attribute` by number. Registers are those of the text, which a compiler would share.
    pub(crate) fn function_attribute(&self, attribute: i32, function: Handle) -> Answer<i32> {
        let f = self.functions.get(&function).ok_or(code::INVALID_HANDLE)?;
        let version = self.modules.get(&f.module).map_or((0, 0), |m| m.module.version);
        Ok(match attribute {
            0 => f.kernel.max_threads.unwrap_or(1024) as i32,
            1 => f.kernel.shared as i32,
            2 | 7 => 0,
            3 => f.kernel.local as i32,
            4 => f.kernel.registers.min(255) as i32,
            5 => (version.0 * 10 + version.1) as i32,
            6 => self.settings.capability as i32,
            8 => f.dynamic_shared as i32,
            9 => -1,
            _ => return Err(code::INVALID_VALUE),
        })
    }

    pub(crate) fn function_set(&mut self, function: Handle, attribute: i32, value: i32) -> Answer<()> {
        self.current()?;
        let most = self.settings.shared_opt_in();
        let f = self.functions.get_mut(&function).ok_or(code::INVALID_HANDLE)?;
        match attribute {
            8 => {
                let value = u32::try_from(value).map_err(|_| code::INVALID_VALUE)?;
                if value + f.kernel.shared > most {
                    return Err(code::INVALID_VALUE);
                }
                f.dynamic_shared = value;
                Ok(())
            }
            9 if (-1..=100).contains(&value) => Ok(()),
            _ => Err(code::INVALID_VALUE),
        }
    }
}
