//! Items: the tools, prompts and resources that servers offer.

use std::{fmt, sync::Arc};

use serde::Deserialize;

/// What kind of item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemKind {
    /// Something to call.
    Tool,
    /// A message template.
    Prompt,
    /// Something to read.
    Resource,
    /// A family of resources.
    Template,
}

impl ItemKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Tool, Self::Prompt, Self::Resource, Self::Template];

    /// The kind's name, for people and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Template => "resource template",
        }
    }

    /// The member of a list result that holds these items.
    #[must_use]
    pub const fn list_member(self) -> &'static str {
        match self {
            Self::Tool => "tools",
            Self::Prompt => "prompts",
            Self::Resource => "resources",
            Self::Template => "resourceTemplates",
        }
    }

    /// The member of an item that identifies it among its kind.
    #[must_use]
    pub const fn key_member(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Resource => "uri",
            Self::Template => "uriTemplate",
        }
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One item, by the name its own server knows it under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Item {
    /// What kind.
    pub kind: ItemKind,
    /// The server's own name for it: a tool's or prompt's name, a resource's URI.
    pub name: Box<str>,
    /// The arguments of a tool that its server wants repeated in headers.
    pub param_headers: Option<Arc<[ParamHeader]>>,
    /// Whether a tool is made for tasks.
    pub task_support: TaskSupport,
    /// What a tool's server says of its behaviour.
    pub annotations: Annotations,
}

/// What a server says of how a tool behaves. Where it says nothing, the specification says what is
/// to be supposed: the worse.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Annotations {
    /// Whether it changes nothing.
    pub read_only_hint: Option<bool>,
    /// Whether it may destroy something.
    pub destructive_hint: Option<bool>,
    /// Whether calling it twice is like calling it once.
    pub idempotent_hint: Option<bool>,
    /// Whether it reaches into an open world.
    pub open_world_hint: Option<bool>,
    /// Its name for people.
    pub title: Option<Box<str>>,
}

impl Annotations {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only_hint.unwrap_or(false)
    }

    /// Whether it may destroy something.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        self.destructive_hint.unwrap_or(!self.is_read_only())
    }

    /// Whether calling it twice is like calling it once.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent_hint.unwrap_or(false)
    }

    /// Whether it reaches into an open world.
    #[must_use]
    pub fn is_open_world(&self) -> bool {
        self.open_world_hint.unwrap_or(true)
    }
}

/// Whether calls of a tool may, or must, be tasks (2025-11-25).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TaskSupport {
    /// They must not.
    #[default]
    Forbidden,
    /// They may.
    Optional,
    /// They must.
    Required,
}

impl Item {
    /// An item that is known by its name alone.
    pub fn named(kind: ItemKind, name: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            name: name.into(),
            param_headers: None,
            task_support: TaskSupport::Forbidden,
            annotations: Annotations::default(),
        }
    }
}

/// An argument that goes into a header too (`x-mcp-header`, SEP-2243).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ParamHeader {
    /// The header's name behind `Mcp-Param-`.
    pub name: Box<str>,
    /// The members that lead to the argument.
    pub path: Box<[Box<str>]>,
}
