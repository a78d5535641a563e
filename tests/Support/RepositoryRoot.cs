namespace Vhost.Tests.Support;

/// <summary>Where the checked-in files are that tests compare with.</summary>
public static class RepositoryRoot
{
    /// <summary>The directory that holds the solution.</summary>
    public static string Path { get; } = Find();

    /// <summary>A file below the root.</summary>
    public static string File(params string[] parts) => System.IO.Path.Combine([Path, .. parts]);

    private static string Find()
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (System.IO.File.Exists(System.IO.Path.Combine(at.FullName, "Vhost.Frontend.sln")))
                return at.FullName;
        }

        throw new DirectoryNotFoundException($"No Vhost.Frontend.sln above {AppContext.BaseDirectory}.");
    }
}
