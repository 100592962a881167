<?php

namespace App\Controller;

use App\Blog;
use App\Entity\Post;
use App\Form\PostType;
use Doctrine\ORM\EntityManagerInterface;
use Symfony\Bundle\FrameworkBundle\Controller\AbstractController;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\Routing\Annotation\Route;

/** For ROLE_ADMIN only: see access_control in config/packages.php. */
#[Route('/admin/posts')]
final class AdminController extends AbstractController
{
    public function __construct(private Blog $blog, private EntityManagerInterface $entities)
    {
    }

    #[Route('', name: 'admin_posts', methods: ['GET'])]
    public function list(): Response
    {
        return $this->render('admin/posts.html.twig', [
            'posts' => $this->blog->allPosts(),
            'counts' => $this->blog->commentCounts(),
        ]);
    }

    #[Route('/new', name: 'admin_new', methods: ['GET', 'POST'])]
    public function new(Request $request): Response
    {
        return $this->edit($request, null);
    }

    #[Route('/{slug}/edit', name: 'admin_edit', methods: ['GET', 'POST'])]
    public function change(Request $request, string $slug): Response
    {
        return $this->edit($request, $this->find($slug));
    }

    #[Route('/{slug}/delete', name: 'admin_delete', methods: ['POST'])]
    public function delete(Request $request, string $slug): Response
    {
        $post = $this->find($slug);
        if (!$this->isCsrfTokenValid('delete-'.$slug, (string) $request->request->get('_token'))) {
            throw $this->createAccessDeniedException('The form is too old, or not ours. Open the list anew.');
        }
        $this->entities->remove($post);
        $this->entities->flush();

        return $this->redirectToRoute('admin_posts', [], Response::HTTP_SEE_OTHER);
    }

    private function edit(Request $request, ?Post $post): Response
    {
        $form = $this->createForm(PostType::class, $post === null ? null : [
            'title' => $post->getTitle(),
            'summary' => $post->getSummary(),
            'content' => $post->getContent(),
            'tags' => implode(', ', $post->getTagNames()),
        ]);
        $form->handleRequest($request);
        if ($form->isSubmitted() && $form->isValid()) {
            $data = $form->getData();
            $post ??= new Post($this->getUser(), $this->blog->slug($data['title']), new \DateTimeImmutable());
            $post->write($data['title'], $data['summary'], $data['content'], $this->blog->tags($data['tags'] ?? ''));
            $this->entities->persist($post);
            $this->entities->flush();

            return $this->redirectToRoute('post', ['slug' => $post->getSlug()], Response::HTTP_SEE_OTHER);
        }
        $status = $form->isSubmitted() ? Response::HTTP_UNPROCESSABLE_ENTITY : Response::HTTP_OK;

        return $this->render(
            'admin/edit.html.twig',
            ['form' => $form->createView(), 'post' => $post],
            new Response(null, $status),
        );
    }

    private function find(string $slug): Post
    {
        return $this->blog->post($slug) ?? throw $this->createNotFoundException('There is no such post.');
    }
}
