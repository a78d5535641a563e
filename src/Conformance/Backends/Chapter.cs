using System.Collections;

namespace Vhost.Conformance;

/// <summary>Cases on one subject.</summary>
/// <param name="name">The first part of their ids.</param>
/// <param name="section">The part of the specification that they stand on unless they say another.</param>
/// <param name="needs">Whom they concern unless they say otherwise.</param>
internal sealed class Chapter(string name, string section, CaseNeeds? needs = null) : IEnumerable<BackendCase>
{
    private readonly List<BackendCase> _cases = [];

    public string Name => name;

    /// <summary>Adds a case.</summary>
    /// <param name="id">The second part of its id.</param>
    /// <param name="level">How binding the rule is.</param>
    /// <param name="title">What the peer is expected to do.</param>
    /// <param name="run">Plays the front-end.</param>
    /// <param name="needs">Whom it concerns; null: whom the chapter concerns.</param>
    /// <param name="section">The part of the specification; null: the chapter's.</param>
    public void Add(string id, ConformanceLevel level, string title, Func<BackendPeer, Task> run, CaseNeeds? needs = null, string? section = null) =>
        _cases.Add(new(new($"{name}/{id}", name, title, section ?? DefaultSection, level) { Needs = (needs ?? DefaultNeeds).InWords() }, needs ?? DefaultNeeds, run));

    public IEnumerator<BackendCase> GetEnumerator() => _cases.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private string DefaultSection => section;

    private CaseNeeds DefaultNeeds => needs ?? CaseNeeds.Nothing;
}
