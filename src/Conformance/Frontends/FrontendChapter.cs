using System.Collections;

namespace Vhost.Conformance;

/// <summary>Cases on one subject that examine a front-end.</summary>
/// <param name="name">The first part of their ids.</param>
/// <param name="section">The part of the specification that they stand on unless they say another.</param>
internal sealed class FrontendChapter(string name, string section) : IEnumerable<FrontendCase>
{
    private readonly List<FrontendCase> _cases = [];

    private string DefaultSection => section;

    /// <summary>Adds a case.</summary>
    /// <param name="id">The second part of its id.</param>
    /// <param name="level">How binding the rule is.</param>
    /// <param name="title">What the front-end is expected to do.</param>
    /// <param name="run">Plays the back-end.</param>
    /// <param name="device">The kind of device; empty: any.</param>
    /// <param name="section">The part of the specification that it stands on; null: the chapter's.</param>
    public void Add(string id, ConformanceLevel level, string title, Func<FrontendPeer, Task> run, string device = "", string? section = null) =>
        _cases.Add(new(new($"{name}/{id}", name, title, section ?? DefaultSection, level) { Needs = device.Length == 0 ? [] : [$"a {device} device"] }, run) { Device = device });

    public IEnumerator<FrontendCase> GetEnumerator() => _cases.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
