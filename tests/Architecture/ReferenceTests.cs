using System.Reflection;
using System.Xml.Linq;
using Vhost.Tests.Support;

namespace Vhost.Architecture.Tests;

/// <summary>Who may know whom: the halves stand on the protocol and never on each other or on the tool.</summary>
public sealed class ReferenceTests
{
    private static readonly Dictionary<string, string[]> _allowed = new(StringComparer.Ordinal)
    {
        ["Vhost.Protocol"] = [],
        ["Vhost.Frontend"] = ["Vhost.Protocol"],
        ["Vhost.Backend"] = ["Vhost.Protocol"],
        ["Vhost.Proxy"] = ["Vhost.Protocol"],
        ["Vhost.Conformance"] = ["Vhost.Protocol"],
        ["Vhost.Backend.Hosting"] = ["Vhost.Protocol", "Vhost.Backend"],
    };

    [Theory]
    [InlineData("Vhost.Protocol")]
    [InlineData("Vhost.Frontend")]
    [InlineData("Vhost.Backend")]
    [InlineData("Vhost.Backend.Hosting")]
    [InlineData("Vhost.Proxy")]
    [InlineData("Vhost.Conformance")]
    public void An_assembly_references_only_what_it_stands_on(string name)
    {
        IEnumerable<string> ours = Assembly.Load(name).GetReferencedAssemblies()
            .Select(reference => reference.Name!)
            .Where(reference => reference.StartsWith("Vhost.", StringComparison.Ordinal) || reference.StartsWith("vhost-user", StringComparison.Ordinal));
        ours.Should().BeSubsetOf(_allowed[name]);
    }

    [Theory]
    [InlineData("Protocol")]
    [InlineData("Frontend")]
    [InlineData("Backend")]
    [InlineData("Hosting")]
    [InlineData("Proxy")]
    [InlineData("Conformance")]
    public void A_project_references_only_what_it_stands_on(string folder)
    {
        XDocument project = Project(folder);
        IEnumerable<string> references = project.Descendants("ProjectReference")
            .Select(reference => Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value));
        references.Should().BeSubsetOf(_allowed[Name(folder)]);
    }

    [Fact]
    public void Only_the_protocol_may_be_unsafe()
    {
        foreach (string folder in Directory.EnumerateDirectories(RepositoryRoot.File("src")).Select(path => Path.GetFileName(path)))
        {
            bool unsafeAllowed = Project(folder).Descendants("AllowUnsafeBlocks").Any();
            unsafeAllowed.Should().Be(folder == "Protocol", "src/{0} is asked", folder);
        }

        foreach (string props in Directory.EnumerateFiles(RepositoryRoot.Path, "Directory.*.props"))
            XDocument.Load(props).Descendants("AllowUnsafeBlocks").Should().BeEmpty();
    }

    [Theory]
    [InlineData("Vhost.Protocol")]
    [InlineData("Vhost.Frontend")]
    [InlineData("Vhost.Backend")]
    [InlineData("Vhost.Backend.Hosting")]
    [InlineData("Vhost.Proxy")]
    [InlineData("Vhost.Conformance")]
    public void An_assembly_has_one_namespace(string name) =>
        Assembly.Load(name).GetTypes()
            .Where(type => type.Namespace is { } space && space.StartsWith("Vhost", StringComparison.Ordinal))
            .Should().OnlyContain(type => type.Namespace == name);

    private static string Name(string folder) => folder == "Hosting" ? "Vhost.Backend.Hosting" : "Vhost." + folder;

    private static XDocument Project(string folder) =>
        XDocument.Load(Directory.EnumerateFiles(RepositoryRoot.File("src", folder), "*.csproj").Single());
}
