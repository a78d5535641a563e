using System.Reflection;
using Vhost.Tests.Support;

namespace Vhost.Architecture.Tests;

/// <summary>What users see changes only on purpose: the public API of each library is a checked-in text.</summary>
public sealed class PublicApiTests
{
    [Theory]
    [InlineData("Protocol")]
    [InlineData("Frontend")]
    [InlineData("Backend")]
    [InlineData("Hosting")]
    [InlineData("Proxy")]
    [InlineData("Conformance")]
    public void The_public_api_is_the_checked_in_one(string folder)
    {
        string text = PublicApiText.Render(Assembly.Load(folder == "Hosting" ? "Vhost.Backend.Hosting" : "Vhost." + folder));
        CheckedInText.Compare(RepositoryRoot.File("src", folder, "PublicApi.txt"), text, "UPDATE_API").Should().BeNull();
    }
}
