namespace Vhost.Conformance.Tests;

/// <summary>A front-end that is wrong in one place.</summary>
/// <param name="Sin">What makes it so.</param>
/// <param name="Chapter">The chapter of the suite that should notice.</param>
/// <param name="Rule">The rule that it breaks.</param>
public sealed record FrontendMutant(FrontendSin Sin, string Chapter, string Rule)
{
    /// <summary>Its name.</summary>
    public string Name => Sin.ToString();
}
