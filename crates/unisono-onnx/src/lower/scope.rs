//! Names, and the graphs that they lead into.

use super::Lowerer;
use super::functions::function_name;
use super::opsets::{Imports, domain};
use crate::error::{OnnxError, quoted};
use crate::proto::{AttributeValue, Function, Node, Type, node_label};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use unisono_graph::{Graph, TensorType, ValueId};
use unisono_tensor::Tensor;

/// Attribute values that a function was called with.
pub(super) type CallAttributes<'p> = HashMap<&'p str, &'p AttributeValue<'p>>;

/// What names mean at one place of the model.
pub(super) struct Scope<'p> {
    /// `None` for an optional input that the function's caller left out.
    pub values: HashMap<&'p str, Option<ValueId>>,
    /// Index of the graph that nodes go into.
    pub building: usize,
    /// Bodies of control flow see the names around them, functions do not.
    pub sees_outer: bool,
    /// Types that the file declares for values of this scope.
    pub declared: HashMap<&'p str, &'p Type<'p>>,
    /// For a function: the names and types that its caller wants for its outputs.
    pub claims: HashMap<&'p str, (String, Option<TensorType>)>,
    /// What attribute references stand for.
    pub attributes: Rc<CallAttributes<'p>>,
    pub imports: Rc<Imports<'p>>,
    /// The path of enclosing nodes and functions, which the names of nodes begin with.
    pub prefix: String,
    /// In a function, names of values begin with the path too: several calls share one graph.
    pub is_function: bool,
    /// What opened the scope; `None` for the model's graph.
    pub site: Option<Site<'p>>,
}

/// Where a scope was opened: a node, by its attribute that is a body or by the function that it calls.
#[derive(Clone, Copy)]
pub(super) struct Site<'p> {
    pub node: &'p Node<'p>,
    pub index: usize,
    pub opened: Opened<'p>,
}

/// See [`Site`].
#[derive(Clone, Copy)]
pub(super) enum Opened<'p> {
    Body(&'p str),
    Function(&'p Function<'p>),
}

impl<'p> Scope<'p> {
    /// The scope of the model's graph.
    pub(super) fn model(imports: Rc<Imports<'p>>) -> Self {
        Self {
            values: HashMap::new(),
            building: 0,
            sees_outer: false,
            declared: HashMap::new(),
            claims: HashMap::new(),
            attributes: Rc::default(),
            imports,
            prefix: String::new(),
            is_function: false,
            site: None,
        }
    }

    /// The scope of a body of control flow within this one; `prefix` is the name of its node, `building` the position of
    /// its graph.
    pub(super) fn body(&self, building: usize, prefix: String, site: Site<'p>) -> Self {
        Self {
            building,
            sees_outer: true,
            prefix,
            attributes: self.attributes.clone(),
            site: Some(site),
            ..Self::model(self.imports.clone())
        }
    }
}

/// A graph that is being built.
pub(super) struct Building {
    pub graph: Graph,
    /// Names that are taken, or will be.
    names: HashSet<String>,
    /// The number that the next made-up name ends with. It never falls, so that no file can make the search for a free
    /// name long more than once.
    next: usize,
    /// Values of the graph around this one that it reads, in the order of its captured inputs.
    pub captures: Vec<ValueId>,
}

impl Building {
    pub(super) fn new(name: &str) -> Self {
        Self {
            graph: Graph::new(name),
            names: HashSet::new(),
            next: 0,
            captures: Vec::new(),
        }
    }

    /// Keeps a name for a value of the file.
    pub(super) fn reserve(&mut self, name: &str) {
        if !name.is_empty() && !self.names.contains(name) {
            self.names.insert(name.to_owned());
        }
    }

    /// A name that is free, as close to `wanted` as possible.
    fn unique(&mut self, wanted: String) -> String {
        if self.names.insert(wanted.clone()) {
            return wanted;
        }
        loop {
            self.next += 1;
            let name = format!("{wanted}#{}", self.next);
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }
}

impl<'p> Lowerer<'p> {
    /// Where the current scope stands in the file.
    pub(super) fn path(&self) -> String {
        let mut path = String::from("graph");
        let inner = self.outer_scopes.iter().skip(1).chain(Some(&self.scope));
        for (outer, scope) in self.outer_scopes.iter().zip(inner) {
            if let Some(Site {
                node,
                index,
                opened,
            }) = scope.site
            {
                let opset = outer.imports.get(domain(node.domain));
                path.push('.');
                path.push_str(&node_label(index, node.name, node.op_type, opset));
                path.push_str(&match opened {
                    Opened::Body(attribute) => format!(".attribute {}", quoted(attribute)),
                    Opened::Function(function) => format!(".function {}", function_name(function)),
                });
            }
        }
        path
    }

    /// The scope at this depth; the current one is at the depth of `outer_scopes`.
    fn scope_at(&mut self, depth: usize) -> &mut Scope<'p> {
        self.outer_scopes.get_mut(depth).unwrap_or(&mut self.scope)
    }

    fn building_at(&mut self, position: usize) -> &mut Building {
        self.outer_buildings
            .get_mut(position)
            .unwrap_or(&mut self.building)
    }

    /// The value of a name in the current scope: `None` if the name is unknown, `Some(None)` if it is an optional input
    /// that was left out. Captures the value on the way if it belongs to a graph around the current one.
    pub(super) fn resolve(&mut self, name: &'p str) -> Result<Option<Option<ValueId>>, OnnxError> {
        self.resolve_at(self.outer_scopes.len(), name)
    }

    fn resolve_at(
        &mut self,
        depth: usize,
        name: &'p str,
    ) -> Result<Option<Option<ValueId>>, OnnxError> {
        let here = self.scope_at(depth);
        if let Some(value) = here.values.get(name) {
            return Ok(Some(*value));
        }
        if !here.sees_outer || depth == 0 {
            return Ok(None);
        }
        let building = here.building;
        let value = match self.resolve_at(depth - 1, name)? {
            None => return Ok(None),
            Some(None) => None,
            Some(Some(outer)) => {
                self.budget.name(name.len())?;
                let outer_building = self.scope_at(depth - 1).building;
                let constant = self
                    .building_at(outer_building)
                    .graph
                    .constant(outer)
                    .cloned();
                let inner = self.building_at(building);
                let unique = inner.unique(name.to_owned());
                Some(match constant {
                    Some(tensor) => inner.graph.add_constant(unique, tensor),
                    None => {
                        let id = inner.graph.add_value(unique, None);
                        inner.graph.push_input(id);
                        inner.captures.push(outer);
                        id
                    }
                })
            }
        };
        self.scope_at(depth).values.insert(name, value);
        Ok(Some(value))
    }

    /// The name and declared type that a value of the current scope gets in the graph.
    ///
    /// Names of the file's graphs are unique already and stay; names inside functions are made so.
    pub(super) fn target(
        &mut self,
        name: &'p str,
    ) -> Result<(String, Option<TensorType>), OnnxError> {
        let scope = &self.scope;
        if let Some((name, declared)) = scope.claims.get(name) {
            return Ok((name.clone(), declared.clone()));
        }
        if scope.is_function {
            let wanted = format!("{}/{name}", scope.prefix);
            self.budget.name(wanted.len())?;
            return Ok((self.building.unique(wanted), None));
        }
        self.budget.name(name.len())?;
        let declared = match super::types::declared(scope.declared.get(name).copied(), self.limits)?
        {
            super::types::Declared::Tensor(tensor) => Some(tensor),
            _ => None,
        };
        Ok((name.to_owned(), declared))
    }

    /// Makes a value of the current scope.
    pub(super) fn define(&mut self, name: &'p str) -> Result<ValueId, OnnxError> {
        let (target, declared) = self.target(name)?;
        let id = self.building.graph.add_value(target, declared);
        self.scope.values.insert(name, Some(id));
        Ok(id)
    }

    /// Makes a constant of the current scope.
    pub(super) fn define_constant(
        &mut self,
        name: &'p str,
        tensor: Tensor,
    ) -> Result<ValueId, OnnxError> {
        let (target, _) = self.target(name)?;
        let id = self.building.graph.add_constant(target, tensor);
        self.scope.values.insert(name, Some(id));
        Ok(id)
    }
}
